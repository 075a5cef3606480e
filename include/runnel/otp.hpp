// SPDX-License-Identifier: BSL-1.0
// runnel/otp.hpp: supervision.
// Layer: L10
#pragma once

#include <runnel/kill.hpp>
#include <runnel/otp/child_spec.hpp>
#include <runnel/otp/dynamic_supervisor.hpp>
#include <runnel/otp/max_children.hpp>
#include <runnel/otp/on_error.hpp>
#include <runnel/otp/partition_supervisor.hpp>
#include <runnel/otp/ready.hpp>
#include <runnel/otp/supervision.hpp>
#include <runnel/otp/supervisor.hpp>
#include <runnel/otp/task_supervisor.hpp>
