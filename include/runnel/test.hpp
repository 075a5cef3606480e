// SPDX-License-Identifier: BSL-1.0
// runnel/test.hpp: deterministic tests: one include for all of namespace runnel::test.
// Layer: L13
#pragma once

// One run, by a seed, in virtual time.
#include <runnel/test/clock.hpp>
#include <runnel/test/error.hpp>
#include <runnel/test/options.hpp>
#include <runnel/test/run.hpp>
#include <runnel/test/trace.hpp>
#include <runnel/test/wait_idle.hpp>

// Many: under many schedules, under all, disturbed at each place.
#include <runnel/test/everywhere.hpp>
#include <runnel/test/explore.hpp>
