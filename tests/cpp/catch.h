#pragma once
// Catch2 and c10 both define CHECK; c10's would silently replace Catch2's assertion. Torch tests include this header alone.
#include <ATen/ATen.h>
#undef CHECK
#include <catch2/catch.hpp>
