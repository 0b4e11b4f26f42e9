// SPDX-License-Identifier: Apache-2.0
//
// The config.json of an ECS bundle: OCI runtime specification 1.0.0 with the sections `platform` and `sylixos`.
// https://docs.acoinfo.com/sylixos/ecs/configuration.html and the defaults of the packer ecsc 0.2.4.
#pragma once

#include <boost/json.hpp>
#include <gantry/runtime_types.hpp>
#include <map>
#include <string>

#include "plugins/runtime/image-store/layout.hpp"

namespace sylixos {

// What an image's labels say, by name; others than texts do not count.
using ImageLabels = std::map<std::string, std::string>;
ImageLabels labels_of(const boost::json::value& image_config);

// ECS's word for an architecture in OCI's: "amd64" -> "x86-64". Throws Failure(kInvalid) for one that it has none for.
std::string ecs_architecture(const std::string& oci);

// The whole document. From the image: program, environment, working directory, user, and by labels hostname, mounts,
// and everything in `sylixos`; the spec's wishes go before. Memory is rounded up to whole MiB; ECS limits neither CPU
// time nor processes. A label that is of another form than its setting does not count. Throws Failure(kInvalid):
// nothing to run, a user that is no number.
std::string config_json(const gantry::ContainerSpec& spec, const image_store::ImageConfig& image,
                        const ImageLabels& labels, const std::string& architecture);

}  // namespace sylixos
