# An overlay port: it packages the checkout that it lies in, and downloads nothing. In a registry of its own, SOURCE_PATH
# is what vcpkg_from_github or vcpkg_from_git brings; nothing else differs.
# vcpkg looks for changes in this directory alone: after others, run vcpkg with --binarysource=clear.
set(VCPKG_BUILD_TYPE release)  # headers alone
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        -DRUNNEL_BUILD_TESTS=OFF
        -DRUNNEL_BUILD_BENCHMARKS=OFF
        -DRUNNEL_BUILD_EXAMPLES=OFF
        -DRUNNEL_INSTALL=ON
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/runnel)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/share/doc")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
