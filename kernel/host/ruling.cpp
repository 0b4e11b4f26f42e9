// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/ruling.hpp"

namespace gantry::host {

Ruling decide(const Case& c) {
    const bool stranger = c.origin.voucher == trust::Voucher::kNobody;
    const bool here = c.crashes.here && !c.crashes.allowed, there = c.crashes.isolated && !c.crashes.allowed;
    if (stranger && c.require_signature) {
        return {Where::kRefused, "it is " + c.origin.text +
                                     ", and [plugins] require_signature is on; sign it with gantry-plugin sign and put "
                                     "the public key among the trusted ones"};
    }
    const std::string crashed = here || there ? "it " + c.crashes.text : std::string();
    if (!c.isolable) {
        if (stranger) {
            return {Where::kRefused, "it is " + c.origin.text +
                                         ", and this role cannot run in a process of its own; sign it with "
                                         "gantry-plugin sign and put the public key among the trusted ones"};
        }
        if (c.asked) return {Where::kRefused, "isolation = \"process\": this role cannot run in a process of its own"};
        if (crashed.empty() || c.required) return {Where::kInProcess, crashed};
        return {Where::kRefused, crashed};
    }
    if (there && !c.required) return {Where::kRefused, crashed};
    if (!crashed.empty()) return {Where::kIsolated, crashed};
    if (stranger) return {Where::kIsolated, "it is " + c.origin.text};
    return {c.asked ? Where::kIsolated : Where::kInProcess, {}};
}

}  // namespace gantry::host
