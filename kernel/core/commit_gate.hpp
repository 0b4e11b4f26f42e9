// SPDX-License-Identifier: Apache-2.0
//
// Commit before act: holds the effects of turns until the writes they depend on are durable. One commit is in flight;
// turns meanwhile form the next. Turns that a person asked for are never put into one commit with others, so a full
// disk refuses them and nothing else.
#pragma once

#include <deque>
#include <optional>

#include "kernel/core/effects.hpp"

namespace gantry::core {

class CommitGate {
  public:
    struct Commit {
        std::vector<Write> writes;  // the last write of each key
        bool use_reserve = false;
    };

    // Takes the writes and acts of one turn (ranks are none of its business).
    void add(Effects turn);
    // The commit to start now, if none is in flight and one is needed.
    std::optional<Commit> begin();
    // Acts that may be done now, in order. Call after add() and committed().
    std::vector<Effect> release();
    void committed();
    // The commit in flight failed or its outcome is unknown: everything held is dropped. Returns the requests that
    // wait, so that they can be failed; the core must be loaded again.
    std::vector<RequestId> failed();
    bool idle() const;

  private:
    struct Turn {
        Effects effects;
        bool needs_commit = false;
    };
    std::deque<Turn> turns_;
    std::size_t in_flight_ = 0;  // turns at the front that the commit under way covers
    std::size_t durable_ = 0;    // turns at the front whose acts may go
};

}  // namespace gantry::core
