// SPDX-License-Identifier: Apache-2.0
//
// The drivers: slots called, reports kept.
#include <algorithm>
#include <gantry/testing/drivers.hpp>
#include <numeric>

#include "sdk/testing/src/loop.hpp"

namespace gantry::testing {
namespace {

template <class Table>
const Table& table_of(const Instance& instance, const char* interface) {
    return *static_cast<const Table*>(instance.role_table(interface));
}

// Brings a report to the driver of `handle`, on the loop.
template <class Driver, class F>
gantry_status report(std::uint64_t handle, const char* slot, F keep) noexcept {
    if (const gantry_status told = tell_monitor(handle, "sink", slot); told != GANTRY_OK) return told;
    Loop* loop = Loop::of(handle);
    if (loop == nullptr) return GANTRY_STALE;
    return detail::guarded(nullptr, [&] {
        loop->post(handle, [loop, handle, keep = std::move(keep)] {
            auto it = loop->targets.find(handle);
            if (it != loop->targets.end()) keep(*static_cast<Driver*>(it->second));
        });
    });
}

// Calls a slot if the table has it.
template <class Slot, class... Args>
gantry_status call(const char* name, bool has, Slot slot, Args... args) {
    if (!has) return GANTRY_UNSUPPORTED;
    const InSlot inside(name);
    return slot(args...);
}
#define GANTRY_CALL(slot, ...) \
    call(#slot, GANTRY_HAS(&table_, slot), table_.slot, instance_.self() __VA_OPT__(, ) __VA_ARGS__)

const gantry_discovery_sink kDiscoverySink{
    sizeof(gantry_discovery_sink), 0,
    [](std::uint64_t host, const gantry_discovered* e) noexcept -> gantry_status {
        Discovered copy{e->kind == GANTRY_DISCOVERED_CONTROLLER, text(e->name), text(e->address), Duration(e->ttl_ns)};
        return report<DiscoveryDriver>(host, "found", [copy](DiscoveryDriver& d) { d.found.push_back(copy); });
    },
    [](std::uint64_t host, const gantry_discovered* e) noexcept -> gantry_status {
        Discovered copy{e->kind == GANTRY_DISCOVERED_CONTROLLER, text(e->name), text(e->address), Duration(e->ttl_ns)};
        return report<DiscoveryDriver>(host, "gone", [copy](DiscoveryDriver& d) { d.gone.push_back(copy); });
    }};

const gantry_runtime_sink kRuntimeSink{
    sizeof(gantry_runtime_sink), 0,
    [](std::uint64_t host, gantry_str name, std::int32_t code) noexcept -> gantry_status {
        return report<RuntimeDriver>(host, "exited", [name = text(name), code](RuntimeDriver& d) {
            d.exits.push_back({name, code});
        });
    },
    [](std::uint64_t host) noexcept -> gantry_status {
        return report<RuntimeDriver>(host, "changed", [](RuntimeDriver& d) { ++d.changes; });
    }};

const gantry_transport_sink kTransportSink{
    sizeof(gantry_transport_sink),
    0,
    [](std::uint64_t host, std::uint64_t peer, std::uint32_t inbound, gantry_str address,
       gantry_str local) noexcept -> gantry_status {
        TransportDriver::Up up{peer, inbound != 0, text(address), text(local)};
        return report<TransportDriver>(host, "up", [up](TransportDriver& d) { d.ups.push_back(up); });
    },
    [](std::uint64_t host, std::uint64_t peer, std::uint32_t channel, gantry_bytes data) noexcept -> gantry_status {
        TransportDriver::Message message{peer, static_cast<Channel>(channel), std::string(view(data))};
        return report<TransportDriver>(host, "message",
                                       [message](TransportDriver& d) { d.messages.push_back(message); });
    },
    [](std::uint64_t host, std::uint64_t peer, std::uint32_t reason, gantry_str why) noexcept -> gantry_status {
        TransportDriver::Ended ended{peer, static_cast<Down>(reason), text(why)};
        return report<TransportDriver>(host, "down", [ended](TransportDriver& d) { d.downs.push_back(ended); });
    },
    [](std::uint64_t host, std::uint64_t peer) noexcept -> gantry_status {
        return report<TransportDriver>(host, "writable", [peer](TransportDriver& d) { d.writables.push_back(peer); });
    },
    [](std::uint64_t host, gantry_str address, std::uint32_t reason, gantry_str why) noexcept -> gantry_status {
        TransportDriver::Refused refused{text(address), static_cast<Down>(reason), text(why)};
        return report<TransportDriver>(host, "refused",
                                       [refused](TransportDriver& d) { d.refusals.push_back(refused); });
    },
    [](std::uint64_t host, std::uint64_t peer, gantry_str name, std::int32_t fd) noexcept -> gantry_status {
        auto owned = std::make_shared<Fd>(fd);
        return report<TransportDriver>(host, "stream", [peer, name = text(name), owned](TransportDriver& d) {
            d.streams.push_back({peer, name, std::move(*owned)});
        });
    }};

}  // namespace

// ---- placement
PlacementDriver::PlacementDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_placement>(instance, GANTRY_ROLE_PLACEMENT)) {}

std::vector<std::string> PlacementDriver::key_names() const { return texts(table_.key_names, table_.key_count); }

std::vector<PlacementPolicy::Keys> PlacementDriver::score(const std::vector<Node>& nodes, const Need& need) const {
    gantry_snapshot snapshot{sizeof(snapshot), 0, 0, 0};
    snapshot.nodes_total = snapshot.nodes_ready = static_cast<std::uint32_t>(nodes.size());
    std::vector<std::vector<gantry_kv>> kvs;
    std::vector<gantry_candidate> candidates;
    for (const Node& n : nodes) {
        kvs.push_back(detail::lower(n.labels));
        snapshot.copies_total += n.copies_running + n.copies_pending;
        candidates.push_back({str(n.name), n.cpu_total_milli, n.cpu_free_milli, n.memory_total_bytes,
                              n.memory_free_bytes, n.copies_running, n.copies_pending, n.copies_of_service,
                              n.has_image ? 1u : 0u, kvs.back().data(), kvs.back().size()});
    }
    const gantry_placement_request request{sizeof(request),
                                           sizeof(gantry_candidate),
                                           str(need.service),
                                           need.cpu_milli,
                                           need.memory_bytes,
                                           need.instances_wanted,
                                           0};
    std::vector<PlacementPolicy::Keys> keys(nodes.size());
    static_assert(sizeof(PlacementPolicy::Keys) == sizeof(std::int64_t[GANTRY_PLACEMENT_KEYS]));
    char buffer[512];
    gantry_error error{sizeof(error), sizeof(buffer), buffer, 0, 0};
    const gantry_status status =
        GANTRY_CALL(score, &snapshot, &request, candidates.data(), candidates.size(),
                    reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(keys.data()), &error);
    if (status != GANTRY_OK) throw Failure(static_cast<Code>(status), std::string(buffer, error.text_len));
    return keys;
}

std::vector<std::string> PlacementDriver::order(const std::vector<Node>& nodes, const Need& need) const {
    const std::vector<PlacementPolicy::Keys> keys = score(nodes, need);
    std::vector<std::size_t> index(nodes.size());
    std::iota(index.begin(), index.end(), std::size_t{0});
    std::ranges::sort(index, [&](std::size_t a, std::size_t b) {
        return std::tie(keys[a], nodes[a].name) < std::tie(keys[b], nodes[b].name);
    });
    std::vector<std::string> out;
    for (std::size_t i : index) out.push_back(nodes[i].name);
    return out;
}

// ---- discovery
DiscoveryDriver::DiscoveryDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_discovery>(instance, GANTRY_ROLE_DISCOVERY)) {
    instance_.host().loop().targets[instance_.handle()] = this;
}
DiscoveryDriver::~DiscoveryDriver() { instance_.host().loop().targets.erase(instance_.handle()); }
void DiscoveryDriver::begin_search() { GANTRY_CALL(start, &kDiscoverySink); }
void DiscoveryDriver::end_search() { GANTRY_CALL(stop); }
void DiscoveryDriver::refresh() { GANTRY_CALL(refresh); }

// ---- probe
ProbeDriver::ProbeDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_probe>(instance, GANTRY_ROLE_PROBE)) {}

Pending<ProbeResult> ProbeDriver::check(const ProbeRequest& request) {
    const std::vector<gantry_kv> params = detail::lower(request.params);
    const gantry_probe_request raw{sizeof(raw),          request.port,  str(request.container),
                                   str(request.address), params.data(), params.size()};
    return Pending<ProbeResult>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(check, op, &raw); });
}

// ---- directory
DirectoryDriver::DirectoryDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_directory>(instance, GANTRY_ROLE_DIRECTORY)) {}

DirectoryFacts DirectoryDriver::facts() const {
    return {static_cast<std::uint16_t>(table_.facts->port), text(table_.facts->environment)};
}

void DirectoryDriver::replace(std::uint64_t table_no, const std::vector<NameRecord>& records) {
    std::vector<gantry_name_record> raw;
    for (const NameRecord& r : records) {
        raw.push_back({str(r.name), str(r.address), r.port, r.secure ? 1u : 0u, r.local ? 1u : 0u, 0});
    }
    GANTRY_CALL(replace, table_no, raw.data(), sizeof(gantry_name_record), raw.size());
}

// ---- store
StoreDriver::StoreDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_store>(instance, GANTRY_ROLE_STORE)) {}

Pending<StoreEntries> StoreDriver::load(std::string_view prefix) {
    return Pending<StoreEntries>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(load, op, str(prefix)); });
}

Pending<StoreCommit> StoreDriver::commit(const StoreBatch& batch) {
    std::vector<gantry_store_change> changes;
    for (const StoreChange& c : batch.changes) {
        changes.push_back({str(c.key), bytes(c.value), c.expected, c.remove ? 1u : 0u, 0});
    }
    const gantry_store_batch raw{
        sizeof(raw), batch.use_reserve ? 1u : 0u, sizeof(gantry_store_change), 0, changes.data(), changes.size()};
    return Pending<StoreCommit>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(commit, op, &raw); });
}

Pending<void> StoreDriver::elect(std::string_view name, Duration ttl) {
    return Pending<void>::begin(instance_,
                                [&](gantry_op op) { return GANTRY_CALL(elect, op, str(name), ttl.count()); });
}

// ---- frontend
FrontendDriver::FrontendDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_frontend>(instance, GANTRY_ROLE_FRONTEND)) {}

std::string FrontendDriver::address() const { return text(table_.address(instance_.self())); }

// ---- transport
TransportDriver::TransportDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_transport>(instance, GANTRY_ROLE_TRANSPORT)) {
    instance_.host().loop().targets[instance_.handle()] = this;
    GANTRY_CALL(bind, &kTransportSink);
}
TransportDriver::~TransportDriver() { instance_.host().loop().targets.erase(instance_.handle()); }

TransportFacts TransportDriver::facts() const {
    return {table_.facts->encrypted != 0, table_.facts->message_max_bytes, table_.facts->queue_max_bytes};
}
Pending<Listening> TransportDriver::listen(std::string_view address) {
    return Pending<Listening>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(listen, op, str(address)); });
}
Pending<Dialled> TransportDriver::dial(std::string_view address) {
    return Pending<Dialled>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(dial, op, str(address)); });
}
Code TransportDriver::send(PeerId peer, Channel channel, std::string_view data) {
    return static_cast<Code>(GANTRY_CALL(send, peer, static_cast<std::uint32_t>(channel), bytes(data)));
}
Code TransportDriver::close(PeerId peer) { return static_cast<Code>(GANTRY_CALL(close, peer)); }
Pending<void> TransportDriver::open_stream(PeerId peer, std::string_view name, Fd fd) {
    return Pending<void>::begin(instance_, [&](gantry_op op) {
        const gantry_status status = GANTRY_CALL(open_stream, op, peer, str(name), fd.get());
        if (status == GANTRY_OK) fd.release();
        return status;
    });
}

// ---- runtime
RuntimeDriver::RuntimeDriver(Instance& instance)
    : instance_(instance), table_(table_of<gantry_runtime>(instance, GANTRY_ROLE_RUNTIME)) {
    instance_.host().loop().targets[instance_.handle()] = this;
    GANTRY_CALL(bind, &kRuntimeSink);
}
RuntimeDriver::~RuntimeDriver() { instance_.host().loop().targets.erase(instance_.handle()); }

RuntimeFacts RuntimeDriver::facts() const {
    const gantry_runtime_facts& f = *table_.facts;
    RuntimeFacts out;
    out.system = text(f.system);
    out.architectures = texts(f.architectures, f.architecture_count);
    out.fenceable = (f.capabilities & GANTRY_RUNTIME_FENCEABLE) != 0;
    out.pause = (f.capabilities & GANTRY_RUNTIME_PAUSE) != 0;
    out.checkpoint = (f.capabilities & GANTRY_RUNTIME_CHECKPOINT) != 0;
    out.exec = (f.capabilities & GANTRY_RUNTIME_EXEC) != 0;
    out.stats = (f.capabilities & GANTRY_RUNTIME_STATS) != 0;
    out.limits = (f.capabilities & GANTRY_RUNTIME_LIMITS) != 0;
    out.settings = (f.capabilities & GANTRY_RUNTIME_SETTINGS) != 0;
    out.log_since = (f.capabilities & GANTRY_RUNTIME_LOG_SINCE) != 0;
    return out;
}
Pending<void> RuntimeDriver::ensure_image(const ImageSource& source) {
    const gantry_image_source raw{sizeof(raw), source.urgent ? GANTRY_IMAGE_URGENT : 0, str(source.image),
                                  str(source.layout_dir)};
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(ensure_image, op, &raw); });
}
Pending<ImageList> RuntimeDriver::images() {
    return Pending<ImageList>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(images, op); });
}
Pending<void> RuntimeDriver::remove_image(std::string_view image) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(remove_image, op, str(image)); });
}
Pending<void> RuntimeDriver::create(const ContainerSpec& spec) {
    const std::vector<gantry_str> args = detail::lower(spec.args);
    const std::vector<gantry_kv> env = detail::lower(spec.env), kvs = detail::lower(spec.labels);
    std::vector<gantry_mount> mounts;
    for (const Mount& m : spec.mounts)
        mounts.push_back({str(m.source), str(m.target), m.read_only ? 1u : 0u, m.no_exec ? GANTRY_MOUNT_NOEXEC : 0u});
    gantry_container_spec raw{};
    raw.struct_size = sizeof(raw);
    raw.stop_signal = static_cast<std::uint32_t>(spec.stop_signal);
    raw.name = str(spec.name);
    raw.image = str(spec.image);
    raw.hostname = str(spec.hostname);
    raw.cwd = str(spec.cwd);
    raw.user = str(spec.user);
    raw.args = args.data();
    raw.arg_count = args.size();
    raw.env = env.data();
    raw.env_count = env.size();
    raw.mounts = mounts.data();
    raw.mount_size = sizeof(gantry_mount);
    raw.mount_count = mounts.size();
    raw.cpu_milli = spec.cpu_milli;
    raw.memory_bytes = spec.memory_bytes;
    raw.pids = spec.pids;
    raw.labels = kvs.data();
    raw.label_count = kvs.size();
    raw.settings = str(spec.settings);
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(create, op, &raw); });
}
Pending<void> RuntimeDriver::start(std::string_view name) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(start, op, str(name)); });
}
Pending<void> RuntimeDriver::stop(std::string_view name, Duration grace) {
    return Pending<void>::begin(instance_,
                                [&](gantry_op op) { return GANTRY_CALL(stop, op, str(name), grace.count()); });
}
Pending<void> RuntimeDriver::kill(std::string_view name) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(kill, op, str(name)); });
}
Pending<void> RuntimeDriver::pause(std::string_view name) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(pause, op, str(name)); });
}
Pending<void> RuntimeDriver::resume(std::string_view name) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(resume, op, str(name)); });
}
Pending<void> RuntimeDriver::checkpoint(std::string_view name) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(checkpoint, op, str(name)); });
}
Pending<void> RuntimeDriver::restore(std::string_view name) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(restore, op, str(name)); });
}
Pending<void> RuntimeDriver::remove(std::string_view name) {
    return Pending<void>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(remove, op, str(name)); });
}
Pending<ContainerList> RuntimeDriver::list() {
    return Pending<ContainerList>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(list, op); });
}
Pending<ContainerStats> RuntimeDriver::stats(std::string_view name) {
    return Pending<ContainerStats>::begin(instance_, [&](gantry_op op) { return GANTRY_CALL(stats, op, str(name)); });
}
Pending<void> RuntimeDriver::logs(std::string_view name, Fd fd, bool follow, std::int64_t tail_lines,
                                  std::int64_t since_ns) {
    const gantry_log_request raw{sizeof(raw), follow ? 1u : 0u, str(name), tail_lines, fd.get(), 0, since_ns};
    return Pending<void>::begin(instance_, [&](gantry_op op) {
        const gantry_status status = GANTRY_CALL(logs, op, &raw);
        if (status == GANTRY_OK) fd.release();
        return status;
    });
}
Pending<ExecResult> RuntimeDriver::exec(std::string_view name, const std::vector<std::string>& args, Fd fd,
                                        bool terminal) {
    const std::vector<gantry_str> list = detail::lower(args);
    const gantry_exec_request raw{sizeof(raw), terminal ? 1u : 0u, str(name), list.data(), list.size(), fd.get(), 0};
    return Pending<ExecResult>::begin(instance_, [&](gantry_op op) {
        const gantry_status status = GANTRY_CALL(exec, op, &raw);
        if (status == GANTRY_OK) fd.release();
        return status;
    });
}

}  // namespace gantry::testing
