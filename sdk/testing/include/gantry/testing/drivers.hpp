// SPDX-License-Identifier: Apache-2.0
//
// One driver per role: calls the slots of an instance as a host does and keeps what it reports. Make the driver before
// Instance::start(), since a sink is bound before start. What a plugin reports arrives in a later turn.
#pragma once

#include <gantry/directory.hpp>
#include <gantry/discovery.hpp>
#include <gantry/frontend.hpp>
#include <gantry/placement.hpp>
#include <gantry/probe.hpp>
#include <gantry/runtime.hpp>
#include <gantry/store.hpp>
#include <gantry/testing/operations.hpp>
#include <gantry/transport.hpp>

namespace gantry::testing {

// A candidate for placement, owning its parts.
struct Node {
    std::string name;
    std::int64_t cpu_total_milli = 4'000, cpu_free_milli = 4'000;
    std::int64_t memory_total_bytes = std::int64_t{4} << 30, memory_free_bytes = std::int64_t{4} << 30;
    std::uint32_t copies_running = 0, copies_pending = 0, copies_of_service = 0;
    bool has_image = true;
    Labels labels{};
};

struct Need {
    std::string service = "service";
    std::int64_t cpu_milli = 0, memory_bytes = 0;
    std::uint32_t instances_wanted = 1;
};

class PlacementDriver {
  public:
    explicit PlacementDriver(Instance& instance);
    std::vector<std::string> key_names() const;
    // One row per node. Throws Failure with the policy's text.
    std::vector<PlacementPolicy::Keys> score(const std::vector<Node>& nodes, const Need& need = {}) const;
    // Names of the nodes, best first; equal ones by name, as the kernel does.
    std::vector<std::string> order(const std::vector<Node>& nodes, const Need& need = {}) const;

  private:
    Instance& instance_;
    const gantry_placement& table_;
};

class DiscoveryDriver {
  public:
    explicit DiscoveryDriver(Instance& instance);
    ~DiscoveryDriver();
    void begin_search();
    void end_search();
    void refresh();
    std::vector<Discovered> found, gone;

  private:
    Instance& instance_;
    const gantry_discovery& table_;
};

class ProbeDriver {
  public:
    explicit ProbeDriver(Instance& instance);
    Pending<ProbeResult> check(const ProbeRequest& request);

  private:
    Instance& instance_;
    const gantry_probe& table_;
};

class DirectoryDriver {
  public:
    explicit DirectoryDriver(Instance& instance);
    DirectoryFacts facts() const;
    void replace(std::uint64_t table_no, const std::vector<NameRecord>& records);

  private:
    Instance& instance_;
    const gantry_directory& table_;
};

class StoreDriver {
  public:
    explicit StoreDriver(Instance& instance);
    Pending<StoreEntries> load(std::string_view prefix);
    Pending<StoreCommit> commit(const StoreBatch& batch);
    Pending<void> elect(std::string_view name, Duration ttl);

  private:
    Instance& instance_;
    const gantry_store& table_;
};

class FrontendDriver {
  public:
    explicit FrontendDriver(Instance& instance);
    std::string address() const;

  private:
    Instance& instance_;
    const gantry_frontend& table_;
};

class TransportDriver {
  public:
    struct Up {
        PeerId peer;
        bool inbound;
        std::string address, local_address;
    };
    struct Message {
        PeerId peer;
        Channel channel;
        std::string data;
    };
    struct Ended {
        PeerId peer;
        Down reason;
        std::string text;
    };
    struct Refused {
        std::string address;
        Down reason;
        std::string text;
    };
    struct Stream {
        PeerId peer;
        std::string name;
        Fd fd;
    };

    explicit TransportDriver(Instance& instance);
    ~TransportDriver();
    TransportFacts facts() const;
    Pending<Listening> listen(std::string_view address);
    Pending<Dialled> dial(std::string_view address);
    Code send(PeerId peer, Channel channel, std::string_view data);
    Code close(PeerId peer);
    Pending<void> open_stream(PeerId peer, std::string_view name, Fd fd);

    std::vector<Up> ups;
    std::vector<Message> messages;
    std::vector<Ended> downs;
    std::vector<PeerId> writables;
    std::vector<Refused> refusals;
    std::vector<Stream> streams;

  private:
    Instance& instance_;
    const gantry_transport& table_;
};

class RuntimeDriver {
  public:
    struct Exit {
        std::string name;
        int exit_code;
    };

    explicit RuntimeDriver(Instance& instance);
    ~RuntimeDriver();
    RuntimeFacts facts() const;
    Pending<void> ensure_image(const ImageSource& source);
    Pending<ImageList> images();
    Pending<void> remove_image(std::string_view image);
    Pending<void> create(const ContainerSpec& spec);
    Pending<void> start(std::string_view name);
    Pending<void> stop(std::string_view name, Duration grace);
    Pending<void> kill(std::string_view name);
    Pending<void> pause(std::string_view name);
    Pending<void> resume(std::string_view name);
    Pending<void> checkpoint(std::string_view name);
    Pending<void> restore(std::string_view name);
    Pending<void> remove(std::string_view name);
    Pending<ContainerList> list();
    Pending<ContainerStats> stats(std::string_view name);
    Pending<void> logs(std::string_view name, Fd fd, bool follow = false, std::int64_t tail_lines = -1,
                       std::int64_t since_ns = 0);
    Pending<ExecResult> exec(std::string_view name, const std::vector<std::string>& args, Fd fd, bool terminal = false);

    std::vector<Exit> exits;
    std::size_t changes = 0;

  private:
    Instance& instance_;
    const gantry_runtime& table_;
};

}  // namespace gantry::testing
