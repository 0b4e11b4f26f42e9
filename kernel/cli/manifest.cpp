// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/manifest.hpp"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

std::string at(const std::string& file, std::uint32_t line, std::uint32_t column) {
    return file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

std::string in(const std::string& path, std::string_view key) {
    return path.empty() ? std::string(key) : path + "." + std::string(key);
}

}  // namespace

// Walks the tables once, keeping the place of each member by its path.
class Converter {
  public:
    explicit Converter(Manifest& manifest) : manifest_(manifest) {}

    json::value convert(const toml::node& node, const std::string& path) {
        switch (node.type()) {
            case toml::node_type::table:
                return convert_table(*node.as_table(), path);
            case toml::node_type::array:
                return convert_array(*node.as_array(), path);
            case toml::node_type::string:
                return json::value(json::string(node.as_string()->get()));
            case toml::node_type::integer:
                return node.as_integer()->get();
            case toml::node_type::boolean:
                return node.as_boolean()->get();
            case toml::node_type::floating_point:
                if (std::isfinite(node.as_floating_point()->get())) return node.as_floating_point()->get();
                return refuse(node, path, "a number that is not finite");
            default:
                return refuse(node, path, "a date or time; write it as \"text\"");
        }
    }

    const std::optional<Trouble>& wrong() const { return wrong_; }

  private:
    void remember(const std::string& path, const toml::source_region& source) {
        manifest_.positions_[path] = {source.begin.line, source.begin.column};
    }

    json::value convert_table(const toml::table& table, const std::string& path) {
        json::object out;
        for (const auto& [key, value] : table) {
            const auto inner = in(path, key.str());
            // An array of tables is at its first header, a table at its own, a value at its key.
            remember(inner, key.source().begin ? key.source() : value.source());
            out[key.str()] = convert(value, inner);
        }
        return out;
    }

    json::value convert_array(const toml::array& array, const std::string& path) {
        json::array out;
        for (std::size_t i = 0; i < array.size(); ++i) {
            const auto inner = path + "[" + std::to_string(i) + "]";
            remember(inner, array[i].source());
            out.push_back(convert(array[i], inner));
        }
        return out;
    }

    json::value refuse(const toml::node& node, const std::string& path, const std::string& got) {
        if (!wrong_) {
            const auto place = at(manifest_.file_, node.source().begin.line, node.source().begin.column);
            wrong_ =
                Trouble(exit_status::kBadData,
                        Error{Code::kInvalid,
                              path + ": expected text, a number, a boolean, a list or a table, got " + got, place});
        }
        return nullptr;
    }

    Manifest& manifest_;
    std::optional<Trouble> wrong_;
};

Outcome<Manifest> Manifest::parse(std::string_view text, const std::string& file) {
    if (text.size() > limits::kDocument) {
        return trouble(exit_status::kBadData, Code::kInvalid,
                       "the manifest is too long: expected at most 1 MiB, got " +
                           format_size(static_cast<std::int64_t>(text.size())),
                       file);
    }
    const auto parsed = toml::parse(text, file);
    if (!parsed) {
        const auto& begin = parsed.error().source().begin;
        return trouble(exit_status::kBadData, Code::kInvalid,
                       "this is not TOML: " + std::string(parsed.error().description()),
                       at(file, begin.line, begin.column));
    }
    Manifest manifest;
    manifest.file_ = file;
    Converter converter(manifest);
    manifest.document_ = converter.convert(parsed.table(), "");
    if (converter.wrong()) return std::unexpected(*converter.wrong());

    // The name is needed for the request's path; everything else is gantryd's to check.
    const auto* service = manifest.document_.as_object().if_contains("service");
    const auto* name = service && service->is_object() ? service->as_object().if_contains("name") : nullptr;
    if (!name || !name->is_string()) {
        return trouble(exit_status::kBadData, Code::kInvalid,
                       std::string("service.name ") + (name ? "is no text" : "is missing") +
                           ": a manifest begins with [service] and name = \"...\"",
                       manifest.place("service.name"));
    }
    manifest.name_ = std::string(name->as_string());
    if (auto good = check_name(manifest.name_, "service.name"); !good) {
        return trouble(exit_status::kBadData, Code::kInvalid, good.error().message, manifest.place("service.name"));
    }
    return manifest;
}

Outcome<Manifest> Manifest::read(const std::string& file) {
    const bool standard = file == "-";
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(standard ? stdin : std::fopen(file.c_str(), "re"),
                                                       [](std::FILE* f) { return f == stdin ? 0 : std::fclose(f); });
    const int error = errno;
    std::string text;
    char room[4096];
    while (in && text.size() <= limits::kDocument) {
        const auto got = std::fread(room, 1, sizeof room, in.get());
        if (got == 0) break;
        text.append(room, got);
    }
    if (!in || std::ferror(in.get())) {
        const int why = in ? errno : error;
        return trouble(why == ENOENT ? exit_status::kNotFound : exit_status::kFailed,
                       why == ENOENT ? Code::kNotFound : Code::kFailed,
                       "cannot read the manifest: " + std::string(std::strerror(why)), file);
    }
    return parse(text, standard ? "standard input" : file);
}

std::string Manifest::place(std::string_view field) const {
    while (!field.empty()) {
        if (const auto found = positions_.find(field); found != positions_.end()) {
            return at(file_, found->second.line, found->second.column);
        }
        const auto up = field.find_last_of(".[");
        field = up == std::string_view::npos ? std::string_view() : field.substr(0, up);
    }
    return at(file_, 1, 1);
}

namespace {

json::object* service_of(json::value& document) {
    auto* service = document.is_object() ? document.as_object().if_contains("service") : nullptr;
    return service ? service->if_object() : nullptr;
}

}  // namespace

std::string Manifest::image() const {
    const auto* service = member_of(document_, "service");
    const auto* value = service ? member_of(*service, "image") : nullptr;
    return value && value->is_string() ? std::string(value->as_string()) : std::string();
}

void Manifest::set_image(const std::string& name) {
    if (auto* service = service_of(document_)) (*service)["image"] = name;
}

Outcome<std::string> Manifest::take_pull() {
    auto* service = service_of(document_);
    const auto* value = service ? service->if_contains("pull") : nullptr;
    if (!value) return std::string();
    const auto got = written(*value);
    service->erase("pull");
    if (auto known = check_pull(got); !known) {
        return std::unexpected(Trouble(exit_status::kBadData,
                                       Error{Code::kInvalid, "service.pull: " + known.error(), place("service.pull")}));
    }
    return got;
}

std::expected<void, std::string> check_pull(const std::string& policy) {
    if (policy == "IfNotPresent" || policy == "Always" || policy == "Never") return {};
    return std::unexpected("expected \"IfNotPresent\", \"Always\" or \"Never\", got \"" + policy + "\"");
}

Trouble Manifest::explain(Trouble refused) const {
    auto& error = refused.error;
    if (error.where.empty() && error.code != Code::kInvalid) return refused;
    if (!error.where.empty()) error.message = error.where + ": " + error.message;
    error.where = place(error.where);
    const bool wrong_manifest = error.code == Code::kInvalid || error.code == Code::kUnsupported;
    if (wrong_manifest) refused.status = exit_status::kBadData;
    return refused;
}

}  // namespace gantry::cli
