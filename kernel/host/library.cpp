// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/library.hpp"

#include <dlfcn.h>
#include <fcntl.h>

#include <boost/dll/shared_library.hpp>
#include <map>
#include <mutex>

#include "kernel/host/border.hpp"

#include "kernel/host/least.hpp"

namespace gantry::host {
namespace {

// A loaded file and everything that must stay as it is while its code is mapped. The descriptor stays open: the
// loader knows libraries by name, and a number that is used again would give it the old one.
struct Loaded {
    int fd = -1;
    std::shared_ptr<boost::dll::shared_library> library;
    std::shared_ptr<const Library> handle;
};

struct AllLoaded {
    std::mutex mutex;
    std::map<FileIdentity, Loaded> by_file;
};

// Never destroyed: nothing is unloaded, not even at exit.
AllLoaded& all_loaded() {
    static auto* const all = new AllLoaded;
    return *all;
}

std::string loader_text() {
    const char* const text = ::dlerror();
    return text == nullptr ? "the loader gave no reason" : text;
}

Status check_entry(const gantry_entry& entry, const elf::Note& note) {
    const auto differs = [](const char* what, std::string_view of_note, std::string_view of_entry) {
        return fail(Code::kRefused, std::string("its entry says ") + what + " \"" + std::string(of_entry) +
                                        "\", its note \"" + std::string(of_note) + "\": they must agree");
    };
    const auto text = [](const char* s) { return s == nullptr ? std::string_view() : std::string_view(s); };
    if (entry.magic != GANTRY_ENTRY_MAGIC || entry.struct_size < kLeast<gantry_entry>) {
        return fail(Code::kRefused, "its " GANTRY_ENTRY_SYMBOL " is no entry of a plugin");
    }
    if (entry.abi_major != note.abi_major || entry.abi_minor != note.abi_minor) {
        return differs("SDK", std::to_string(note.abi_major) + "." + std::to_string(note.abi_minor),
                       std::to_string(entry.abi_major) + "." + std::to_string(entry.abi_minor));
    }
    if (text(entry.id) != note.id) return differs("id", note.id, text(entry.id));
    if (text(entry.version) != note.version) return differs("version", note.version, text(entry.version));
    if (text(entry.role) != note.role) return differs("role", note.role, text(entry.role));
    if (entry.create == nullptr) return fail(Code::kRefused, "its entry cannot create an instance");
    return {};
}

}  // namespace

Result<std::shared_ptr<const Library>> Library::load(const PluginFile& file) {
    GANTRY_TRY(identity, FileIdentity::of(file.fd));
    // Its name may have gone to another file meanwhile, which changes changed_ns: that is no change of this one.
    if (identity.size != file.identity.size || identity.modified_ns != file.identity.modified_ns) {
        return fail(Code::kRefused, file.path +
                                        " was written to after it was checked; put a new file in its place "
                                        "instead of writing into it");
    }
    std::lock_guard lock(all_loaded().mutex);
    Loaded& loaded = all_loaded().by_file[identity];
    if (loaded.handle == nullptr) {
        if (loaded.fd < 0) loaded.fd = ::fcntl(file.fd, F_DUPFD_CLOEXEC, 3);
        if (loaded.fd < 0) return fail(Code::kFull, "no descriptor left to load " + file.path);
        ::dlerror();
        auto library = std::make_shared<boost::dll::shared_library>();
        boost::dll::fs::error_code error;
        // Boost's own error code is the same for everything; the loader's text is not.
        library->load("/proc/self/fd/" + std::to_string(loaded.fd),
                      boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local, error);
        if (error) return fail(Code::kRefused, file.path + " cannot be loaded: " + loader_text());
        if (!library->has(GANTRY_ENTRY_SYMBOL)) return fail(Code::kRefused, file.path + " has no " GANTRY_ENTRY_SYMBOL);
        std::shared_ptr<Library> handle(new Library);
        handle->entry_ = &library->get<const gantry_entry>(GANTRY_ENTRY_SYMBOL);
        loaded.library = std::move(library);
        loaded.handle = std::move(handle);
    }
    if (Status checked = check_entry(*loaded.handle->entry_, file.note); !checked) {
        return fail(Code::kRefused, file.path + ": " + checked.error().message);
    }
    return loaded.handle;
}

Status Library::create(const gantry_host& host, gantry_plugin& out) const {
    out = {};
    out.struct_size = sizeof(out);
    ErrorBuffer error;
    const gantry_status status = entry_->create(&host, &out, &error.raw);
    if (status != GANTRY_OK) return fail(code_of(status), "cannot be created: " + error.text(status));
    const bool whole = out.struct_size >= kLeast<gantry_plugin> && out.init != nullptr && out.start != nullptr &&
                       out.stop != nullptr && out.destroy != nullptr && out.query != nullptr;
    if (whole) return {};
    return fail(Code::kRefused, "its plugin table is incomplete; all slots of SDK 1.0 are needed");
}

}  // namespace gantry::host
