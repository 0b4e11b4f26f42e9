// SPDX-License-Identifier: Apache-2.0
//
// ImageSource: whom this node asks for the blobs of an image. The controller first; if that names nodes which have the
// image, one of them from then on, so that a layer passes the controller's link once and not once for each node. A
// neighbour that cannot be reached, says no, breaks off or is silent is left, and the controller is asked for the rest.
// What comes is checked against its digest either way; an image that came wrong is asked of the controller alone.
//
// Threads: the loop.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "kernel/control/blobs.hpp"
#include "kernel/core/messages.hpp"
#include "kernel/host/roles.hpp"

namespace gantry::control {

class ImageSource {
  public:
    struct Parts {
        boost::asio::io_context& io;
        host::Transport& transport;
        std::function<void(host::PeerId, const core::BlobRead&)> send;
        std::function<void(host::PeerId)> close;  // and forgets what still waits for it
        std::function<void()> again;              // what was asked for will not come: ask anew
        std::function<void(const std::string&)> log;
    };
    explicit ImageSource(Parts parts) : parts_(std::move(parts)), silence_(parts_.io) {}

    void controller(host::PeerId peer) { controller_ = peer; }  // 0: none
    // read.image: of which image.
    void read(core::BlobRead read);
    // An answer; false if it is of no use.
    bool take(host::PeerId from, const core::BlobData& data);
    // That image is here, or failed.
    void ended(const std::string& image, bool here);

    bool owns(host::PeerId peer) const { return peer != 0 && peer == neighbour_; }  // a neighbour that we dialled
    void peer_down(host::PeerId peer);

  private:
    void dial(std::vector<std::string> addresses);
    void leave(const std::string& why);
    void hang_up();
    void watch();

    Parts parts_;
    host::PeerId controller_ = 0, neighbour_ = 0;
    std::string image_;              // that is read
    std::string address_;            // of the neighbour
    std::set<std::string> without_;  // images that no neighbour is asked for
    bool dialling_ = false;
    std::uint64_t generation_ = 0;  // of image_
    std::size_t under_way_ = 0;     // reads that the neighbour has not answered
    boost::asio::steady_timer silence_;
};

// The answer to a read, and its bytes. Blocks on the disk.
std::pair<core::BlobData, std::string> answer(const BlobStore& blobs, const core::BlobRead& read);

}  // namespace gantry::control
