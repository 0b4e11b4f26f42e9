// SPDX-License-Identifier: Apache-2.0
#include "kernel/trust/verifier.hpp"

#include <algorithm>

#include "kernel/trust/owned.hpp"

namespace gantry::trust {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeysMax = 256;  // files of keys

// The same for "/a/b", "/a/b/" and "/a/./b".
fs::path plain(const fs::path& folder) {
    const fs::path normal = folder.lexically_normal();
    return normal.has_filename() ? normal : normal.parent_path();
}

std::string shown(const Digest& digest) { return hex(digest).substr(0, 16) + "..."; }

// Adds what the list `name` of the folder says; false: there is no such list.
Result<bool> add_list(const Folder& opened, const fs::path& folder, std::string_view name, DigestList& list) {
    Result<std::string> text = read_owned(opened, folder, std::string(name), kListMax);
    if (!text && text.error().code == Code::kNotFound) return false;
    if (!text) return std::unexpected(std::move(text).error());
    const std::string path = (folder / name).string();
    DigestList more;
    std::string error;
    if (!parse_list(*text, more, error)) return fail(Code::kRefused, path + ", " + error);
    list.merge(more);
    if (more.empty()) return true;
    return fail(Code::kRefused,
                path + " names " + more.begin()->first + ", which another list beside it names as well");
}

Result<std::optional<DigestList>> read_list(const fs::path& folder) {
    Result<Folder> opened = open_folder(folder);
    if (!opened) return std::unexpected(std::move(opened).error());
    DigestList list;
    GANTRY_TRY(bundled, add_list(*opened, folder, kListName, list));
    GANTRY_TRY(extra, add_list(*opened, folder, kExtraListName, list));
    if (!bundled && !extra) return std::nullopt;
    return list;
}

}  // namespace

void Verifier::refresh() {
    lists_.clear();
    keys_.clear();
    trouble_.clear();
    keys_read_ = false;
}

const Result<Verifier::List>& Verifier::list_of(const fs::path& folder) {
    const auto found = lists_.find(folder);
    return found != lists_.end() ? found->second : lists_.emplace(folder, read_list(folder)).first->second;
}

Result<Origin> Verifier::examine(int fd, const fs::path& folder, const std::string& name) {
    const std::string path = (folder / name).string(), list_path = (folder / kListName).string();
    Contents contents;
    std::string error;
    if (!read_contents(fd, contents, error)) return fail(Code::kRefused, path + " " + error);
    const Result<List>& list = list_of(plain(folder));
    if (!list) return std::unexpected(list.error());
    const bool package = !options_.package.empty() && plain(folder) == plain(options_.package);
    if (list->has_value()) {
        const auto entry = (*list)->find(name);
        if (entry == (*list)->end()) {
            return fail(Code::kRefused, path + " is not in " + list_path +
                                            ": keep plugins from elsewhere in a folder of their own, and name it in "
                                            "[plugins] path");
        }
        if (entry->second != contents.whole) {
            return fail(Code::kRefused, path + " was changed: " + list_path + " expects SHA-256 " +
                                            shown(entry->second) + ", it has " + shown(contents.whole) +
                                            "; install its package again");
        }
        if (package) return Origin{Voucher::kPackage, "package", hex(contents.whole)};
    }
    GANTRY_TRY(origin, by_signature(contents, path));
    origin.digest = hex(contents.whole);
    if (package && origin.voucher == Voucher::kNobody) origin.text += ", and " + list_path + " is missing";
    return origin;
}

Result<Origin> Verifier::by_signature(const Contents& contents, const std::string& path) {
    if (contents.sealed == Sealed::kNot) return Origin{Voucher::kNobody, "not signed", {}};
    if (contents.sealed == Sealed::kDamaged) {
        return fail(Code::kRefused, path + ": " + contents.text + "; fetch the file again");
    }
    if (!keys_read_) read_keys();
    const auto signer = std::ranges::find(keys_, contents.seal.key, [](const NamedKey& k) { return k.key.id(); });
    if (signer == keys_.end()) {
        return Origin{
            Voucher::kNobody,
            "signed by the key " + hex(contents.seal.key) + ", which is not in " + options_.keys.string() + trouble_,
            {}};
    }
    if (signer->key.signed_by(contents.seal, contents.before_seal)) {
        return Origin{Voucher::kKey, "signed by " + signer->name, {}};
    }
    return fail(Code::kRefused,
                path + " was changed: it is not what " + signer->name + " signed; fetch the file again");
}

// A key that cannot be used is none; who misses it is told why.
void Verifier::read_keys() {
    keys_read_ = true;
    const auto trouble = [this](const std::string& text) { trouble_ += (trouble_.empty() ? " (" : "; ") + text; };
    Result<Folder> folder = open_folder(options_.keys);
    if (folder && !folder->trusted) folder = std::unexpected(folder->trusted.error());
    if (!folder) {
        trouble(folder.error().message);
    } else {
        std::vector<std::string> names;
        std::error_code failed;
        for (const auto& item : fs::directory_iterator(options_.keys, failed)) {
            if (item.path().extension() == ".pub") names.push_back(item.path().filename());
        }
        if (failed) trouble(options_.keys.string() + " cannot be read: " + failed.message());
        std::ranges::sort(names);
        if (names.size() > kKeysMax) trouble("only the first " + std::to_string(kKeysMax) + " keys are read");
        names.resize(std::min(names.size(), kKeysMax));
        for (const std::string& name : names) {
            const Result<std::string> pem = read_owned(*folder, options_.keys, name, kKeyFileMax);
            std::string error;
            std::optional<Key> key;
            if (pem) key = Key::read_public(*pem, error);
            if (key) keys_.push_back({fs::path(name).stem(), std::move(*key)});
            if (!key) trouble(pem ? (options_.keys / name).string() + " " + error : pem.error().message);
        }
    }
    if (!trouble_.empty()) trouble_ += ")";
}

}  // namespace gantry::trust
