# SPDX-License-Identifier: BSL-1.0
"""A recipe for Conan 2 that packages the checkout that it lies in: conan create packaging/conan"""
import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, load
from conan.tools.layout import basic_layout
from conan.tools.scm import Version

required_conan_version = ">=2.0"


class RunnelConan(ConanFile):
    name = "runnel"
    description = "Goroutines, channels and structured concurrency for C++20 on Boost.Asio"
    license = "BSL-1.0"
    topics = ("coroutines", "concurrency", "channels", "structured-concurrency", "asio", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    @property
    def _checkout(self):
        return os.path.join(self.recipe_folder, os.pardir, os.pardir)

    def set_version(self):
        parts = dict(re.findall(r"^#define RUNNEL_VERSION_(MAJOR|MINOR|PATCH) +(\d+)",
                                load(self, os.path.join(self._checkout, "include", "runnel", "version.hpp")), re.M))
        self.version = ".".join(parts[part] for part in ("MAJOR", "MINOR", "PATCH"))

    def export_sources(self):
        copy(self, "LICENSE", self._checkout, self.export_sources_folder)
        copy(self, "*.hpp", os.path.join(self._checkout, "include"), os.path.join(self.export_sources_folder, "include"))

    def layout(self):
        basic_layout(self)

    def requirements(self):
        self.requires("boost/[>=1.81.0 <2]")

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)
        if self.settings.os == "Windows":
            raise ConanInvalidConfiguration(f"{self.ref} needs POSIX")
        least = {"gcc": "12", "clang": "16"}.get(str(self.settings.compiler))
        if least and Version(self.settings.compiler.version) < least:
            raise ConanInvalidConfiguration(f"{self.ref} needs {self.settings.compiler} {least} or newer")

    def build(self):
        pass

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", os.path.join(self.source_folder, "include"), os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "runnel")
        self.cpp_info.set_property("cmake_target_name", "runnel::runnel")
        self.cpp_info.set_property("pkg_config_name", "runnel")
        self.cpp_info.requires = ["boost::headers"]
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            self.cpp_info.system_libs = ["pthread"]
