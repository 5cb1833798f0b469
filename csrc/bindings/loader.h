#pragma once
// What the bindings of loaders and of the training loop share.

#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "data/loader.h"

namespace sslmed::bindings {

data::OnError on_error_of(const std::string& name);  // ValueError for another word
std::vector<std::pair<std::int64_t, std::string>> pairs_of(const std::vector<data::Failure>& failures);

}  // namespace sslmed::bindings
