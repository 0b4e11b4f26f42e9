// SPDX-License-Identifier: Apache-2.0
//
// gantry: the command line. This file knows the commands' spelling; what they do is in the files named after them.
#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <functional>

#include "kernel/cli/commands.hpp"
#include "kernel/cli/volumes.hpp"

namespace gantry::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  gantry image import axis_server.tar      bring an image into the controller's store
  gantry deploy axis.toml                  run a service, wait until it is ready
  gantry ps                                what runs where
  gantry events -f                         follow what happens
  gantry explain axis_server               why it runs where it runs

Exit statuses:
  0    done
  1    the request was refused or failed
  2    the command line is wrong
  3    not found
  4    timed out, or it did not get ready
  5    gantryd cannot be reached
  65   the manifest or the image is wrong
  130  interrupted)";

using Command = std::function<Outcome<int>(const Session&)>;

// What was given on the command line, and the command that it chose.
struct Given {
    Session::Options session;
    DeployOptions deploy;
    EventsOptions events;
    DrillOptions drill;
    ExecOptions exec;
    ImportOptions import;
    ClusterOptions cluster;
    PullOptions pull;
    UpgradeOptions upgrade;
    RegistryServerOptions registry;
    std::string name, file, server, since, timeout = "5m";
    std::vector<std::string> names;
    bool dead = false, reboot = false, wait = false, dry_run = false, follow = false;
    std::int64_t after = 0, tail = 0, revision = 0, at_once = 1;
    CLI::Option *after_given = nullptr, *tail_given = nullptr;
    Command chosen;
};

CLI::App* add(CLI::App& parent, Given& given, const char* name, const char* about, Command command) {
    auto* app = parent.add_subcommand(name, about);
    app->callback([&given, command = std::move(command)] { given.chosen = command; });
    return app;
}

CLI::App* add_group(CLI::App& parent, const char* name, const char* about) {
    auto* app = parent.add_subcommand(name, about);
    app->require_subcommand(1);
    return app;
}

void add_run_commands(CLI::App& app, Given& given) {
    const auto command = [&](const char* name, const char* about, const char* what, const char* until, auto run) {
        auto* sub = add(app, given, name, about, [&given, run](const Session& s) {
            return run(s, given.name, WaitOptions{given.wait, given.timeout});
        });
        sub->add_option(what, given.name)->required();
        sub->add_flag("--wait", given.wait, until);
        sub->add_option("--timeout", given.timeout, "How long to wait")->capture_default_str();
    };
    command("stop", "Stop a service: it stays deployed, and nothing of it runs until it is started", "SERVICE",
            "Wait until nothing of it runs", stop);
    command("start", "Start a service that was stopped", "SERVICE", "Wait until it is ready", start);
    command("restart", "End an instance and start it again where it is, or replace all of a service as an update would",
            "SERVICE|INSTANCE", "Wait until it is ready again", restart);
}

void add_rollout_commands(CLI::App& app, Given& given) {
    auto* history_app = add(app, given, "history", "List the revisions of a service, the newest first",
                            [&](const Session& s) { return history(s, given.name); });
    history_app->add_option("SERVICE", given.name)->required();
    const auto action = [&](const char* name, const char* about) {
        auto* sub = add(app, given, name, about,
                        [&given, name](const Session& s) { return rollout(s, given.name, name, given.revision); });
        sub->add_option("SERVICE", given.name)->required();
        return sub;
    };
    add(app, given, "pause",
        "Replace no further instance of a service, or have the processes of an instance stand still",
        [&](const Session& s) { return pause(s, given.name); })
        ->add_option("SERVICE|INSTANCE", given.name, "A service's rollout, or an instance like axis_server.0")
        ->required();
    add(app, given, "unpause", "Have the processes of a paused instance go on",
        [&](const Session& s) { return unpause(s, given.name); })
        ->add_option("INSTANCE", given.name)
        ->required();
    const auto disk = [&](const char* name, const char* about, auto run) {
        add(app, given, name, about, [&given, run](const Session& s) { return run(s, given.name); })
            ->add_option("INSTANCE", given.name, "Like axis_server.0")
            ->required();
    };
    disk("checkpoint", "Write an instance's memory to its node's disk and end its processes, until it is restored",
         checkpoint);
    disk("restore", "Have an instance that was checkpointed go on from where it was", restore);
    action("resume", "Go on with a rollout that was paused");
    action("rollback", "Make a service what it was in an earlier revision")
        ->add_option("REVISION", given.revision, "As gantry history lists it; default: the last one that was ready")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 53));
}

void add_service_commands(CLI::App& app, Given& given) {
    auto* deploy_app =
        add(app, given, "deploy", "Run the service of a manifest; waits until it is ready or says why not",
            [&](const Session& s) { return deploy(s, given.deploy); });
    deploy_app->add_option("FILE", given.deploy.file, "The manifest (TOML); - is standard input")->required();
    deploy_app->add_flag("--dry-run", given.deploy.dry_run, "Only show what would change and where it would run");
    deploy_app->add_flag("--wait", given.deploy.wait, "Wait on while it is pending or failing, until the timeout");
    deploy_app->add_option("--timeout", given.deploy.timeout, "How long to wait until it is ready")
        ->capture_default_str();
    deploy_app->add_option("--pull", given.deploy.pull, "When to ask the registry of the image; wins over service.pull")
        ->check(CLI::IsMember({"Always", "IfNotPresent", "Never"}));
    deploy_app->footer(
        "Examples:\n  gantry deploy axis.toml\n  gantry deploy --dry-run axis.toml\n"
        "  gantry deploy --timeout 30s axis.toml\n\nCtrl-C ends the waiting, not the deployment.");

    add(app, given, "services", "List services", services);
    add(app, given, "ps", "List instances: where each runs and since when", instances);
    auto* explain_app = add(app, given, "explain", "Say of each node why it may or may not run a service, and its rank",
                            [&](const Session& s) { return explain(s, given.name); });
    explain_app->add_option("SERVICE", given.name)->required();
    auto* rm = add(app, given, "rm", "Remove a service",
                   [&](const Session& s) { return remove_service(s, given.name, given.wait, given.timeout); });
    rm->add_option("SERVICE", given.name)->required();
    rm->add_flag("--wait", given.wait, "Wait until nothing of it runs");
    rm->add_option("--timeout", given.timeout, "How long to wait")->capture_default_str();

    add_run_commands(app, given);
    add_rollout_commands(app, given);

    auto* log_app = add(app, given, "logs", "Show what an instance writes", [&](const Session& s) {
        return logs(s, {given.name, given.follow,
                        given.tail_given->count() > 0 ? std::optional(given.tail) : std::nullopt, given.since});
    });
    log_app->add_option("INSTANCE", given.name, "SERVICE.NUMBER, like axis_server.0")->required();
    log_app->add_flag("-f,--follow", given.follow, "Go on with what it writes from now on");
    given.tail_given = log_app->add_option("--tail,-n", given.tail, "Only the last N lines")
                           ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 53));
    log_app->add_option("--since", given.since,
                        "Only what it wrote in the last 10m, or since 2026-11-30T14:57:05; of that the last N lines");
    log_app->footer("Examples:\n  gantry logs axis_server.0 -f --tail 20\n  gantry logs axis_server.0 --since 10m");

    auto* exec_app = add(app, given, "exec", "Run a command in the container of an instance, wherever it is",
                         [&](const Session& s) { return exec(s, given.exec); });
    exec_app->add_option("TARGET", given.exec.target, "SERVICE, SERVICE.NUMBER or the name of a container")->required();
    exec_app->add_option("COMMAND", given.exec.command, "The program and its arguments, behind --")->required();
    exec_app->add_flag("-i,--input", given.exec.input, "Pass standard input on");
    exec_app->add_flag("-t,--terminal", given.exec.terminal, "Give it a terminal, as this one; with -i");
    exec_app->footer(
        "Its exit status is the command's.\n\nExamples:\n  gantry exec axis_server -- /bin/axis --list\n  gantry exec "
        "-t "
        "axis_server.0 -- /bin/sh");

    auto* resolve_app = add(app, given, "resolve", "Say who answers a name, and how long it has",
                            [&](const Session& s) { return resolve(s, given.name, given.server); });
    resolve_app->add_option("NAME", given.name)->required();
    resolve_app->add_option("--server", given.server,
                            "Position servers to ask as well, ip:port (default: VSOA_POS_SERVER)");
    resolve_app->footer("Example:\n  gantry resolve axis_server --server 10.0.0.2:54");
}

void add_node_commands(CLI::App& app, Given& given) {
    add(app, given, "nodes", "List nodes", nodes);
    auto* top_app = add(app, given, "top", "What nodes and instances use now, or one of them in the last hour",
                        [&](const Session& s) { return top(s, given.name, given.follow); });
    top_app->add_option("NAME", given.name, "A node, or an instance like axis_server.0");
    top_app->add_flag("-w,--watch", given.follow, "Again every 5 seconds, until Ctrl-C");
    top_app->footer("Examples:\n  gantry top\n  gantry top SNode1");
    auto* group = add_group(app, "node", "Forget nodes, say that silent ones are lost, leave");
    auto* rm = add(*group, given, "rm", "Forget a node",
                   [&](const Session& s) { return node_remove(s, given.name, given.dead); });
    rm->add_option("NODE", given.name)->required();
    rm->add_flag("--dead", given.dead, "It will not come back with what it ran");
    auto* leave = add(*group, given, "leave", "Announce that this machine goes down: run on it, before a reboot",
                      [&](const Session& s) { return node_leave(s, given.reboot, given.wait); });
    leave->add_flag("--reboot", given.reboot,
                    "It comes back: what can be away for as long as that usually takes stays");
    leave->add_flag("--wait", given.wait, "End when its gantryd has, at the latest after 40 s");
    auto* lost = add(*group, given, "confirm-lost", "Take nodes as lost; without names all silent ones",
                     [&](const Session& s) { return node_confirm_lost(s, given.names); });
    lost->add_option("NODE", given.names);

    const auto intent = [&](const char* name, const char* about, const char* value) {
        auto* sub = add(app, given, name, about,
                        [&given, value](const Session& s) { return node_intent(s, given.name, value); });
        sub->add_option("NODE", given.name)->required();
    };
    intent("drain", "Move everything away from a node and place nothing on it", "draining");
    intent("cordon", "Place nothing new on a node", "cordoned");
    intent("uncordon", "Use a node again, after drain or cordon", "active");
    auto* drill_app = add(app, given, "drill", "Have a node fail for real, and say what that costs",
                          [&](const Session& s) { return drill(s, given.drill); });
    drill_app->add_option("NODE", given.drill.node)->required();
    drill_app->add_option("--kind", given.drill.kind, "kill, cut, freeze or reboot, as its [node.drill] permits")
        ->required()
        ->check(CLI::IsMember({"kill", "cut", "freeze", "reboot"}));
    drill_app->add_option("--for", given.drill.duration, "How long it fails, 1s to 1h")->capture_default_str();
    drill_app->add_option("--timeout", given.drill.timeout, "How long to wait for figures when that is over")
        ->capture_default_str();
    drill_app->footer("Example:\n  gantry drill SNode2 --kind cut --for 20s");
    auto* even =
        add(app, given, "rebalance", "Move instances from nodes with many to nodes with few; shows the plan first",
            [&](const Session& s) { return rebalance(s, given.at_once, given.dry_run); });
    even->add_option("--max", given.at_once, "So many at a time")->check(CLI::Range(1, 1000))->capture_default_str();
    even->add_flag("--dry-run", given.dry_run, "Only show the plan and what is gained");
}

void add_setup_commands(CLI::App& app, Given& given) {
    auto& options = given.cluster;
    const auto files = [&options](CLI::App* sub) {
        sub->add_option("--config", options.config, "gantryd's configuration file")->capture_default_str();
        return sub;
    };
    const auto writes = [&options, files](CLI::App* sub) {
        files(sub)->add_flag("--force", options.force,
                             "Also over a file that was changed by hand; it is kept with .old at its end");
        sub->add_option("--engine", options.engine, "What runs containers: runc or crun (default: runc)")
            ->check(CLI::IsMember({"runc", "crun"}));
        return sub;
    };
    auto* group = add_group(app, "cluster", "Begin a cluster");
    auto* init = writes(add(*group, given, "init", "Make this gateway the first controller of a cluster, and a node",
                            [&](const Session& s) { return cluster_init(s, options); }));
    options.address = "0.0.0.0:3900";
    init->add_option("--listen", options.address, "Where other gateways reach it, IP:PORT")->capture_default_str();
    init->add_flag("--local", options.local, "For this gateway alone: nobody else can join");
    auto* join = writes(add(app, given, "join", "Make this gateway a node of a cluster",
                            [&](const Session& s) { return cluster_join(s, options); }));
    join->add_option("ADDRESS", options.address, "Of its controller, IP:PORT")->required();
    join->add_option("--secret-file", options.secret_file, "A copy of the cluster's secret")->required();
    join->add_option("--state-dir", options.state_dir, "gantryd's state")->capture_default_str();
    join->footer("Example:\n  gantry join 10.0.0.1:3900 --secret-file cluster.secret");
    auto* health = files(add(app, given, "doctor",
                             "Look at what Gantry needs of this machine, and say the cure for what is missing",
                             [&](const Session& s) { return doctor(s, options); }));
    health->add_option("--state-dir", options.state_dir, "gantryd's state")->capture_default_str();
}

void add_registry_options(CLI::App& app, RegistryOptions& options) {
    app.add_option("--authfile", options.auth_file, "Credentials (containers-auth.json)");
    app.add_option("--cert-dir", options.certificates, "Folder with ca.crt, client.cert, client.key");
    app.add_option("--registries-conf", options.registries_file, "Mirrors, and registries without TLS");
    app.add_flag("!--no-verify-tls", options.verify_tls, "Any certificate will do, or none");
    app.add_option("--timeout", options.timeout, "So long a registry may send nothing")->capture_default_str();
}

void add_store_commands(CLI::App& app, Given& given) {
    auto* group = add_group(app, "image", "Images in the controller's store");
    auto* import = add(*group, given, "import", "Check an image archive and bring its images into the store",
                       [&](const Session& s) { return image_import(s, given.import); });
    import->add_option("PATH", given.import.path, "OCI layout, OCI archive, or what docker save or ecsc pack write")
        ->required();
    import->add_option("--name", given.import.name, "NAME:TAG; or NAME for layouts that only have tags");
    import->add_option("--platform", given.import.platform, "OS/ARCHITECTURE, where an image has several");
    import->footer(
        "Examples:\n  gantry image import axis_server.tar\n  gantry image import layout/ --name axis_server:1.0");
    auto* pull = add(*group, given, "pull", "Bring an image from a registry into the store, if it has changed",
                     [&](const Session& s) { return image_pull(s, given.pull); });
    pull->add_option("REFERENCE", given.pull.reference, "REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:...")->required();
    pull->add_option("--name", given.pull.name, "Store it under another NAME:TAG");
    pull->add_option("--platform", given.pull.platform, "OS/ARCHITECTURE, where an image has several");
    add_registry_options(*pull, given.pull.registry);
    pull->footer("Example:\n  gantry image pull registry.host/axis_server:1.0");
    add(*group, given, "ls", "List images", images);
    auto* image_rm =
        add(*group, given, "rm", "Remove an image", [&](const Session& s) { return image_remove(s, given.name); });
    image_rm->add_option("IMAGE", given.name, "NAME:TAG")->required();

    auto* upgrade_app = add(app, given, "upgrade", "Deploy services again whose image has a newer one",
                            [&](const Session& s) { return upgrade(s, given.upgrade); });
    upgrade_app->add_option("SERVICE", given.upgrade.services, "Default: all");
    upgrade_app
        ->add_option("--policy", given.upgrade.policy, "Larger: the largest version; Always: what the tag means now")
        ->check(CLI::IsMember({"Larger", "Always"}))
        ->capture_default_str();
    upgrade_app->add_flag("--dry-run", given.upgrade.dry_run, "Only say what would change");
    add_registry_options(*upgrade_app, given.upgrade.registry);
    auto* serve = add(app, given, "registry", "Serve the store as an OCI registry, until it is interrupted",
                      [&](const Session& s) { return registry(s, given.registry); });
    serve->add_option("--listen", given.registry.listen, "IP:PORT; it speaks HTTP without TLS")->capture_default_str();
    serve->add_option("--token-file", given.registry.token_file, "What clients give as their password, in one line")
        ->required();
    serve->footer(
        "Example:\n  gantry registry --token-file /etc/gantry/registry.token\n"
        "  skopeo copy --dest-tls-verify=false --dest-creds gantry:TOKEN docker-daemon:axis:1.0 "
        "docker://127.0.0.1:5000/axis:1.0");

    group = add_group(app, "secret", "Secrets that manifests name");
    auto* set = add(*group, given, "set", "Set a secret; asks without echo on a terminal",
                    [&](const Session& s) { return secret_set(s, given.name, given.file); });
    set->add_option("NAME", given.name)->required();
    set->add_option("--file", given.file,
                    "Read it from a file, or - for standard input; one line end at its end is dropped");
    add(*group, given, "ls", "List the names of secrets", secrets);
    auto* secret_rm =
        add(*group, given, "rm", "Remove a secret", [&](const Session& s) { return secret_remove(s, given.name); });
    secret_rm->add_option("NAME", given.name)->required();

    group = add_group(app, "volume", "Named volumes of this node");
    add(*group, given, "ls", "List the volumes of this node and who uses them", volumes);
    auto* volume_rm = add(*group, given, "rm", "Remove a volume and what is in it",
                          [&](const Session& s) { return volume_remove(s, given.name); });
    volume_rm->add_option("NAME", given.name)->required();
}

void add_other_commands(CLI::App& app, Given& given) {
    auto* sub = add(app, given, "events", "Show the event log, the newest 100 by default", [&](const Session& s) {
        if (given.after_given->count() > 0) given.events.after = given.after;
        return events(s, given.events);
    });
    sub->add_flag("-f,--follow", given.events.follow, "Go on with events as they happen");
    given.after_given = sub->add_option("--after", given.after, "Only events numbered above N")
                            ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 53));
    sub->add_option("--limit,-n", given.events.limit, "At most N events, the newest")->check(CLI::Range(1, 10'000));
    sub->add_option("--service", given.events.service, "Only events of a service");
    sub->add_option("--node", given.events.node, "Only events of a node");
    sub->footer("Example:\n  gantry events -f --service axis_server");
    add(app, given, "status", "Summary of the cluster", status);
    auto* plugins_app = app.add_subcommand("plugins", "List the plugins of this gantryd and their state");
    plugins_app->callback([&given, plugins_app] {
        if (plugins_app->get_subcommands().empty()) given.chosen = plugins;  // this comes after those of its commands
    });
    const auto crashes = [&](const char* what, const char* about) {
        sub = add(*plugins_app, given, what, about,
                  [&given, what](const Session& s) { return plugin_crashes(s, given.name, what); });
        sub->add_option("NAME", given.name, "The plugin's table, with its role if others have that name: probe.tcp")
            ->required();
    };
    crashes("allow", "Run it as configured, however often it crashed and will");
    crashes("clear", "Forget its crashes, and that they were allowed");
    auto* exchange = add(*plugins_app, given, "reload", "Exchange a plugin without a stop",
                         [&](const Session& s) { return plugin_reload(s, given.name, given.file); });
    exchange->add_option("PLUGIN", given.name, "ROLE.NAME of its table, like placement.least-loaded")->required();
    exchange->add_option("--file", given.file, "Absolute path of the new file; without it the one in the plugin path");
    sub = add(app, given, "reload", "Have gantryd read its configuration again, all of it or nothing",
              [](const Session& s) { return reload(s); });
    sub->footer("The same as SIGHUP to gantryd, with its answer.");
    add(app, given, "version", "Versions of gantry and gantryd", version);
}

// A mistyped word has its neighbour among the commands or options that were possible where it stood.
std::string did_you_mean(const CLI::App& root, int argc, char** argv) {
    const CLI::App* at = &root;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const bool option = word.starts_with("-") && word.size() > 1;
        std::vector<std::string> known;
        if (option) {
            for (const auto* level = at; level; level = level->get_parent()) {
                for (const auto* o : level->get_options()) {
                    for (const auto& name : o->get_lnames()) known.push_back("--" + name);
                }
            }
        } else {
            for (const auto* sub : at->get_subcommands([](const CLI::App*) { return true; }))
                known.push_back(sub->get_name());
            const auto sub = std::find(known.begin(), known.end(), word);
            if (sub != known.end()) {
                at = at->get_subcommand(word);
                continue;
            }
        }
        const auto bare = word.substr(0, word.find('='));
        if (std::find(known.begin(), known.end(), bare) != known.end()) {
            const CLI::Option* found = nullptr;
            for (const auto* level = at; level && !found; level = level->get_parent())
                found = level->get_option_no_throw(bare);
            const bool takes_value = found && found->get_items_expected_max() > 0 && bare == word;
            i += takes_value;  // which is no word of the command
            continue;
        }
        const std::vector<std::string_view> views(known.begin(), known.end());
        if (const auto guess = nearest(bare, views)) return "`" + word + "`: did you mean `" + *guess + "`?";
        if (!option && at->get_parent() == nullptr) return "`" + word + "` is no command";
    }
    return {};
}

int usage(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
    if (argc == 1) {
        std::fputs(app.help().c_str(), stderr);
        return exit_status::kUsage;
    }
    auto hint = did_you_mean(app, argc, argv);
    std::fprintf(stderr, "gantry: %s\n", hint.empty() ? error.what() : hint.c_str());
    std::fputs("Run gantry --help, or gantry COMMAND --help.\n", stderr);
    return exit_status::kUsage;
}

int report(const Trouble& trouble, bool as_json) {
    std::fflush(stdout);
    const auto& error = trouble.error;
    if (as_json) {
        json::object out{{"code", code_name(error.code)}, {"message", error.message}};
        if (!error.where.empty()) out["field"] = error.where;
        std::fprintf(stderr, "%s\n", to_text(json::object{{"error", std::move(out)}}).c_str());
    } else {
        std::fprintf(stderr, "gantry: %s\n", clean(error.text()).c_str());
    }
    return trouble.status;
}

int run(int argc, char** argv) {
    Given given;
    CLI::App app("gantry: run services on a few gateways and keep them running", "gantry");
    app.footer(kFooter);
    app.require_subcommand(1);
    app.fallthrough();
    app.set_version_flag("--version", "gantry " GANTRY_VERSION);
    app.add_option("--socket", given.session.socket, "gantryd's Unix socket")
        ->envname("GANTRY_SOCKET")
        ->capture_default_str();
    app.add_flag("--json", given.session.json, "Documents as served, one per line");
    app.add_flag("--no-color", given.session.no_color, "No colours (also: NO_COLOR)");
    add_service_commands(app, given);
    add_node_commands(app, given);
    add_store_commands(app, given);
    add_setup_commands(app, given);
    add_other_commands(app, given);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& asked) {
        return app.exit(asked);  // --help, --version
    } catch (const CLI::ParseError& error) {
        return usage(app, error, argc, argv);
    }
    const Session session(given.session);
    auto status = given.chosen(session);
    if (!status) return report(status.error(), given.session.json);
    if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
        std::perror("gantry: cannot write the answer");
        return exit_status::kFailed;
    }
    return *status;
}

}  // namespace
}  // namespace gantry::cli

int main(int argc, char** argv) {
    try {
        return gantry::cli::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "gantry: %s\n", error.what());
        return gantry::cli::exit_status::kFailed;
    }
}
