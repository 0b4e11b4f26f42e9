// SPDX-License-Identifier: Apache-2.0
//
// `gantry registry`: the controller's store as an OCI registry, so that `skopeo copy` and `podman push` reach it.
// https://github.com/opencontainers/distribution-spec v1.0: pull, push (in chunks, resumable), tags; no deletion. It
// speaks to gantryd as every other command does and keeps nothing but uploads under way.
#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <semaphore>
#include <set>

#include "kernel/cli/commands.hpp"
#include "kernel/cli/digest.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/http_server.hpp"
#include "kernel/cli/work_folder.hpp"

namespace gantry::cli {

namespace {

constexpr std::size_t kMaxManifest = 4 << 20, kPiece = 64 << 10, kMaxUploads = 64;
constexpr std::size_t kMinToken = 16, kMaxToken = 4096;
constexpr auto kUploadKept = std::chrono::hours(1);  // that nobody goes on with
constexpr auto kSilence = std::chrono::seconds(60);  // of gantryd
constexpr std::ptrdiff_t kStreams = 2;               // at once from and to gantryd

HttpAnswer refuse(int code, std::string_view name, std::string_view why) {
    HttpAnswer out{code};
    out.headers.emplace_back("Content-Type", "application/json");
    out.body = to_text(json::object{{"errors", json::array{json::object{{"code", name}, {"message", why}}}}});
    return out;
}

HttpAnswer refuse(const Trouble& why) {
    switch (why.error.code) {
        case Code::kNotFound:
            return refuse(404, "NAME_UNKNOWN", why.error.message);
        case Code::kInvalid:
            return refuse(400, "DIGEST_INVALID", why.error.message);
        case Code::kConflict:
            return refuse(400, "MANIFEST_BLOB_UNKNOWN", why.error.message);
        case Code::kFull:
            return refuse(507, "TOOMANYREQUESTS", why.error.message);
        default:
            return refuse(why.status == exit_status::kUnreachable ? 503 : 500, "UNKNOWN", why.error.message);
    }
}

HttpAnswer document(const json::object& body) {
    HttpAnswer out;
    out.headers.emplace_back("Content-Type", "application/json");
    out.body = to_text(body);
    return out;
}

std::string base64_decoded(std::string_view text) {
    std::string out;
    std::uint32_t bits = 0;
    int count = 0;
    for (const char c : text) {
        const std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const auto value = kLetters.find(c);
        if (value == kLetters.npos) break;
        bits = bits << 6 | static_cast<std::uint32_t>(value);
        if ((count += 6) >= 8) out += static_cast<char>(bits >> (count -= 8) & 0xff);
    }
    return out;
}

// "press/axis" and what comes behind it: /v2/press/axis/manifests/1.0.
struct Route {
    std::string name, kind, rest;  // kind: manifests, blobs, uploads, tags
};

std::optional<Route> route_of(std::string_view path) {
    if (!path.starts_with("/v2/")) return std::nullopt;
    path.remove_prefix(4);
    for (const std::string_view kind : {"/blobs/uploads", "/blobs/", "/manifests/", "/tags/list"}) {
        const auto at = path.rfind(kind);
        if (at == path.npos || at == 0) continue;
        auto rest = path.substr(at + kind.size());
        if (kind == "/tags/list" && !rest.empty()) continue;
        if (kind == "/blobs/uploads") {
            if (!rest.empty() && rest.front() != '/') continue;
            if (!rest.empty()) rest.remove_prefix(1);
        }
        if (rest.find('/') != rest.npos) continue;
        const std::string_view names[] = {"uploads", "blobs", "manifests", "tags"};
        const auto index = kind == "/blobs/uploads" ? 0 : kind == "/blobs/" ? 1 : kind == "/manifests/" ? 2 : 3;
        return Route{decode(path.substr(0, at)), std::string(names[index]), decode(rest)};
    }
    return std::nullopt;
}

// "press/axis:1.0" -> "press/axis", "1.0"; an image that is only pinned has no tag.
std::pair<std::string, std::string> split(const std::string& name) {
    const auto plain = name.substr(0, name.find('@'));
    const auto slash = plain.rfind('/'), colon = plain.rfind(':');
    if (colon == plain.npos || (slash != plain.npos && colon < slash)) return {plain, ""};
    return {plain.substr(0, colon), plain.substr(colon + 1)};
}

struct Upload {
    std::string file;
    std::int64_t size = 0;
    bool busy = false;
    Clock::time_point used = Clock::now();
};

class Registry {
  public:
    Registry(const Session& session, std::string token, const std::filesystem::path& folder)
        : session_(session), token_(std::move(token)), folder_(folder) {}

    HttpAnswer answer(const HttpRequest& request) {
        if (!may(request.authorization)) {
            auto out = refuse(401, "UNAUTHORIZED", "expected the token of this registry as the password");
            out.headers.emplace_back("WWW-Authenticate", "Basic realm=\"gantry\"");
            return out;
        }
        auto out = serve(request);
        out.headers.emplace_back("Docker-Distribution-Api-Version", "registry/2.0");
        return out;
    }

  private:
    bool may(std::string_view given) const {
        std::string word;
        if (given.starts_with("Bearer ")) word = given.substr(7);
        if (given.starts_with("Basic ")) {
            word = base64_decoded(given.substr(6));
            word.erase(0, std::min(word.find(':'), word.size() - 1) + 1);
        }
        return word.size() == token_.size() && CRYPTO_memcmp(word.data(), token_.data(), word.size()) == 0;
    }

    HttpAnswer serve(const HttpRequest& request) {
        const bool reads = request.method == "GET" || request.method == "HEAD";
        if (request.path == "/v2/" || request.path == "/v2") return document({});
        if (request.path == "/v2/_catalog" && reads) return catalog();
        const auto route = route_of(request.path);
        if (!route) return refuse(404, "UNSUPPORTED", "there is no such path");
        if (route->kind == "tags" && reads) return tags(route->name);
        if (route->kind == "manifests" && reads) return manifest(*route);
        if (route->kind == "manifests" && request.method == "PUT") return put_manifest(*route, request);
        if (route->kind == "blobs" && reads) return blob(*route, request);
        if (route->kind == "uploads") return upload(*route, request);
        return refuse(405, "UNSUPPORTED", request.method + " is not supported here");
    }

    HttpAnswer catalog() const {
        const auto images = session_.get("/v1/images");
        if (!images) return refuse(images.error());
        std::set<std::string> names;
        for (const auto& image : items_of(*images)) names.insert(split(text_of(image, "name")).first);
        return document({{"repositories", json::array(names.begin(), names.end())}});
    }

    HttpAnswer tags(const std::string& name) const {
        const auto images = session_.get("/v1/images");
        if (!images) return refuse(images.error());
        json::array found;
        for (const auto& image : items_of(*images)) {
            const auto [path, tag] = split(text_of(image, "name"));
            if (path == name && !tag.empty()) found.push_back(json::string(tag));
        }
        if (found.empty()) return refuse(404, "NAME_UNKNOWN", "there is no image " + name);
        return document({{"name", name}, {"tags", std::move(found)}});
    }

    HttpAnswer manifest(const Route& route) {
        auto digest = route.rest;
        if (!is_digest(digest)) {
            const auto image = session_.get("/v1/images/" + encode(route.name + ":" + route.rest));
            if (!image && image.error().status == exit_status::kNotFound)
                return refuse(404, "MANIFEST_UNKNOWN", image.error().error.message);
            if (!image) return refuse(image.error());
            digest = text_of(*image, "digest");
        }
        auto stream = open(digest);
        if (!stream) {
            if (stream.error().error.code == Code::kNotFound)
                return refuse(404, "MANIFEST_UNKNOWN", stream.error().error.message);
            return refuse(stream.error());
        }
        HttpAnswer out;
        std::string piece;
        while (out.body.size() <= kMaxManifest) {
            const auto got = (*stream)->read(piece, kSilence);
            if (!got) return refuse(got.error());
            if (*got != Client::Stream::Got::kData) break;
            out.body += piece;
        }
        const auto parsed = parse_json(out.body, kMaxManifest);
        if (!parsed || !parsed->is_object()) return refuse(404, "MANIFEST_UNKNOWN", digest + " is no manifest");
        auto type = text_of(*parsed, "mediaType");
        if (type.empty()) {
            type = member_of(*parsed, "manifests") ? "application/vnd.oci.image.index.v1+json"
                                                   : "application/vnd.oci.image.manifest.v1+json";
        }
        out.headers = {{"Content-Type", type}, {"Docker-Content-Digest", digest}};
        return out;
    }

    HttpAnswer blob(const Route& route, const HttpRequest& request) {
        if (!is_digest(route.rest)) return refuse(400, "DIGEST_INVALID", "expected sha256: and 64 hexadecimal digits");
        auto opened = open(route.rest);
        if (!opened && opened.error().error.code == Code::kNotFound)
            return refuse(404, "BLOB_UNKNOWN", opened.error().error.message);
        if (!opened) return refuse(opened.error());
        const std::shared_ptr<Client::Stream> stream = std::move(*opened);
        HttpAnswer out;
        out.length = stream->length();
        out.headers = {{"Content-Type", "application/octet-stream"},
                       {"Docker-Content-Digest", route.rest},
                       {"Accept-Ranges", "bytes"}};
        if (request.method == "HEAD") return out;
        // A pull that broke off goes on with "bytes=N-".
        std::int64_t skip = 0;
        if (request.range.starts_with("bytes=") && request.range.ends_with('-')) {
            const auto* begin = request.range.data() + 6;
            const auto* end = request.range.data() + request.range.size() - 1;
            if (std::from_chars(begin, end, skip).ptr != end || skip < 0 || skip >= out.length) {
                auto wrong = refuse(416, "SIZE_INVALID", "the blob has " + std::to_string(out.length) + " bytes");
                wrong.headers.emplace_back("Content-Range", "bytes */" + std::to_string(out.length));
                return wrong;
            }
            out.code = 206;
            out.headers.emplace_back("Content-Range", "bytes " + std::to_string(skip) + "-" +
                                                          std::to_string(out.length - 1) + "/" +
                                                          std::to_string(out.length));
            out.length -= skip;
        }
        out.stream = [stream, skip](std::string& piece) mutable -> Outcome<bool> {
            while (true) {
                GANTRY_TRY(got, stream->read(piece, kSilence));
                if (got != Client::Stream::Got::kData) piece.clear();
                if (piece.empty()) return true;
                const auto drop = std::min<std::size_t>(piece.size(), static_cast<std::size_t>(skip));
                piece.erase(0, drop);
                skip -= static_cast<std::int64_t>(drop);
                if (!piece.empty()) return true;
            }
        };
        return out;
    }

    HttpAnswer put_manifest(const Route& route, const HttpRequest& request) {
        std::string text, room(kPiece, '\0');
        while (true) {
            const auto got = request.body(room.data(), room.size());
            if (!got) return refuse(got.error());
            if (*got == 0) break;
            text.append(room, 0, *got);
            if (text.size() > kMaxManifest) return refuse(413, "MANIFEST_INVALID", "expected at most 4 MiB");
        }
        const auto parsed = parse_json(text, kMaxManifest);
        if (!parsed || !parsed->is_object()) return refuse(400, "MANIFEST_INVALID", "expected a JSON object");
        Sha256 sum;
        sum.add(text.data(), text.size());
        const auto digest = sum.digest();
        const bool by_digest = is_digest(route.rest);
        if (by_digest && route.rest != digest)
            return refuse(400, "DIGEST_INVALID", "expected " + route.rest + ", got " + digest);
        const auto stored = store(digest, static_cast<std::int64_t>(text.size()),
                                  [&](std::int64_t at, char* into, std::size_t size) -> Outcome<std::size_t> {
                                      const auto count = std::min(size, text.size() - static_cast<std::size_t>(at));
                                      std::memcpy(into, text.data() + at, count);
                                      return count;
                                  });
        if (!stored) return refuse(stored.error());
        if (!by_digest) {
            const auto named = session_.change("PUT", "/v1/images/" + encode(route.name + ":" + route.rest),
                                               json::object{{"digest", digest}});
            if (!named) return refuse(named.error());
        }
        HttpAnswer out{201};
        out.headers = {{"Location", "/v2/" + route.name + "/manifests/" + digest}, {"Docker-Content-Digest", digest}};
        return out;
    }

    // ---- uploads

    HttpAnswer upload(const Route& route, const HttpRequest& request) {
        if (request.method == "POST" && route.rest.empty()) return begin(route, request);
        const Use use(*this, route.rest);
        if (!use.upload) {
            return use.busy ? refuse(409, "BLOB_UPLOAD_INVALID", "another request goes on with this upload")
                            : refuse(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload (any more): begin again");
        }
        if (request.method == "GET") return progress(route, *use.upload, 204);
        if (request.method == "DELETE") {
            forget(route.rest);
            return HttpAnswer{204};
        }
        if (request.method != "PATCH" && request.method != "PUT") return refuse(405, "UNSUPPORTED", request.method);
        if (!fits(request.content_range, use.upload->size)) return progress(route, *use.upload, 416);
        if (const auto taken = append(*use.upload, request); !taken) return refuse(taken.error());
        if (request.method == "PATCH") return progress(route, *use.upload, 202);
        return finish(route, *use.upload, request.parameter("digest"));
    }

    HttpAnswer begin(const Route& route, const HttpRequest& request) {
        // What the store has under any name need not be sent.
        const auto known = request.parameter("mount");
        if (is_digest(known) && open(known)) return created(route, known);
        std::string id;
        {
            const std::lock_guard lock(mutex_);
            for (auto at = uploads_.begin(); at != uploads_.end();) {
                const bool old = !at->second.busy && Clock::now() - at->second.used > kUploadKept;
                if (old) unlink(at->second.file.c_str());
                at = old ? uploads_.erase(at) : std::next(at);
            }
            if (uploads_.size() >= kMaxUploads)
                return refuse(429, "TOOMANYREQUESTS", "64 uploads are under way already; try again");
            std::random_device random;
            for (int i = 0; i < 4; ++i) id += std::to_string(random()) + (i < 3 ? "-" : "");
            uploads_[id].file = folder_ / id;
        }
        const Route made{route.name, route.kind, id};
        const Use use(*this, id);
        if (!use.upload) return refuse(404, "BLOB_UPLOAD_UNKNOWN", "it was taken away");
        if (const auto digest = request.parameter("digest"); !digest.empty()) {
            if (const auto taken = append(*use.upload, request); !taken) return refuse(taken.error());
            return finish(made, *use.upload, digest);
        }
        return progress(made, *use.upload, 202);
    }

    static HttpAnswer created(const Route& route, const std::string& digest) {
        HttpAnswer out{201};
        out.headers = {{"Location", "/v2/" + route.name + "/blobs/" + digest}, {"Docker-Content-Digest", digest}};
        return out;
    }

    static HttpAnswer progress(const Route& route, const Upload& upload, int code) {
        HttpAnswer out{code};
        out.headers = {{"Location", "/v2/" + route.name + "/blobs/uploads/" + route.rest},
                       {"Docker-Upload-UUID", route.rest},
                       {"Range", "0-" + std::to_string(std::max<std::int64_t>(0, upload.size - 1))}};
        return out;
    }

    // "1000-1999": has to begin where the upload ends. Nothing said: it does.
    static bool fits(const std::string& range, std::int64_t size) {
        if (range.empty()) return true;
        const std::string_view text = range.starts_with("bytes ") ? std::string_view(range).substr(6) : range;
        std::int64_t from = -1;
        std::from_chars(text.data(), text.data() + text.size(), from);
        return from == size;
    }

    // What came before the client broke off stays.
    static Outcome<bool> append(Upload& upload, const HttpRequest& request) {
        const int fd = ::open(upload.file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        const std::unique_ptr<const int, void (*)(const int*)> owned(&fd, [](const int* f) { close(*f); });
        std::string room(kPiece, '\0');
        while (true) {
            GANTRY_TRY(got, request.body(room.data(), room.size()));
            if (got == 0) return true;
            for (std::size_t at = 0; at < got;) {
                const auto written = write(fd, room.data() + at, got - at);
                if (written < 0 && errno == EINTR) continue;
                if (written <= 0) {
                    return trouble(exit_status::kFailed, errno == ENOSPC ? Code::kFull : Code::kFailed,
                                   std::string("cannot keep the upload: ") + std::strerror(errno));
                }
                at += static_cast<std::size_t>(written);
                upload.size += written;
            }
        }
    }

    HttpAnswer finish(const Route& route, const Upload& upload, const std::string& digest) {
        if (!is_digest(digest)) return refuse(400, "DIGEST_INVALID", "expected digest=sha256:... in the query");
        const int fd = ::open(upload.file.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        const auto stored =
            store(digest, upload.size, [fd](std::int64_t at, char* into, std::size_t size) -> Outcome<std::size_t> {
                const auto got = pread(fd, into, size, at);
                return got > 0 ? static_cast<std::size_t>(got) : std::size_t{0};
            });
        close(fd);
        forget(route.rest);
        if (!stored) return refuse(stored.error());
        return created(route, digest);
    }

    void forget(const std::string& id) {
        const std::lock_guard lock(mutex_);
        const auto at = uploads_.find(id);
        if (at == uploads_.end()) return;
        unlink(at->second.file.c_str());
        at->second.used = {};  // its Use is still there
    }

    // ---- gantryd

    struct Turn {
        explicit Turn(std::counting_semaphore<kStreams>& s) : streams(s) { streams.acquire(); }
        ~Turn() { streams.release(); }
        std::counting_semaphore<kStreams>& streams;
    };

    Outcome<std::unique_ptr<Client::Stream>> open(const std::string& digest) const {
        return session_.client().open("/v1/blobs/" + encode(digest));
    }

    Outcome<bool> store(const std::string& digest, std::int64_t size, const Client::Source& source) {
        const Turn turn(streams_);
        GANTRY_TRY(answer, session_.client().upload("/v1/blobs/" + encode(digest), size, source));
        if (answer.code < 400) return true;
        auto refused = refusal(answer);
        if (refused.error.code == Code::kExists) return true;
        return std::unexpected(std::move(refused));
    }

    // One request at a time goes on with an upload.
    struct Use {
        Use(Registry& r, const std::string& name) : registry(r), id(name) {
            const std::lock_guard lock(registry.mutex_);
            const auto at = registry.uploads_.find(id);
            if (at == registry.uploads_.end()) return;
            busy = at->second.busy;
            if (busy) return;
            at->second.busy = true;
            upload = &at->second;
        }
        ~Use() {
            if (!upload) return;
            const std::lock_guard lock(registry.mutex_);
            upload->busy = false;
            const bool over = upload->used == Clock::time_point{};
            upload->used = Clock::now();
            if (over) registry.uploads_.erase(id);
        }
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        Registry& registry;
        const std::string id;
        Upload* upload = nullptr;
        bool busy = false;
    };

    const Session& session_;
    const std::string token_;
    const std::filesystem::path folder_;
    std::mutex mutex_;
    std::map<std::string, Upload> uploads_;
    std::counting_semaphore<kStreams> streams_{kStreams};
};

Outcome<std::string> read_token(const std::string& file) {
    const auto bad = [&](const std::string& why) {
        return trouble(exit_status::kUsage, Code::kInvalid, "--token-file: " + why, file);
    };
    struct stat about {};
    if (stat(file.c_str(), &about) != 0) return bad(std::strerror(errno));
    if ((about.st_mode & 077) != 0) return bad("others may read it; chmod 600 it");
    std::ifstream in(file);
    std::string token;
    std::getline(in, token);
    if (token.size() >= kMinToken && token.size() <= kMaxToken) return token;
    return bad("expected a line of 16 to 4096 characters; `openssl rand -hex 32` makes a good one");
}

}  // namespace

Outcome<int> registry(const Session& session, const RegistryServerOptions& options) {
    GANTRY_TRY(token, read_token(options.token_file));
    GANTRY_TRY(work, WorkFolder::make());
    Registry registry(session, token, work->path);
    GANTRY_TRY(server, HttpServer::listen(options.listen,
                                          [&](const HttpRequest& request) { return registry.answer(request); }));
    session.say_line("serving the images of " + session.client().socket() + " on " + server.address());
    server.run();
    return exit_status::kOk;
}

}  // namespace gantry::cli
