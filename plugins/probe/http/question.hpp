// SPDX-License-Identifier: Apache-2.0
//
// What one check asks, and which answers mean well: the manifest's keys, read and checked.
#pragma once

#include <gantry/probe.hpp>
#include <string>
#include <utility>
#include <vector>

namespace http_probe {

struct Question {
    std::string request;  // the bytes to send
    std::vector<std::pair<int, int>> statuses;
    std::string body;  // must be in it; empty: the body is not looked at

    bool tls = false, insecure = false;
    std::string ca;    // file of certificates; empty: those that the node trusts
    std::string name;  // that the certificate must have, and SNI

    bool wants(int status) const;
};

// Throws gantry::Failure(kInvalid): a key that makes no sense.
Question question_of(const gantry::ProbeRequest& request);

}  // namespace http_probe
