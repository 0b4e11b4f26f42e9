// SPDX-License-Identifier: Apache-2.0
//
// A placement policy in Rust: rustc alone, no crates. Prefers the node with the largest share of its processors free, then
// of its memory. The types are those of <gantry/abi/entry.h> and <gantry/abi/placement.h>, as far as
// they are needed here; a plugin that uses more of the border needs more of them.

use std::ffi::c_void;
use std::mem::size_of;
use std::os::raw::c_char;
use std::ptr;

include!("build/note.rs"); // GANTRY_PLUGIN_ID, _VERSION, _ROLE and the note, from plugin.toml by gantry-note

const OK: i32 = 0;
const INVALID: i32 = 2;
const MAGIC: u32 = 0x59544e47;
const ABI_MAJOR: u32 = 1;
const ABI_MINOR: u32 = 1;
const INTERFACE: &[u8] = b"gantry.role.placement/1";

#[repr(C)]
#[derive(Clone, Copy)]
struct Str {
    ptr: *const u8,
    len: usize,
}

#[repr(C)]
struct ConfigValue {
    key: Str,
    kind: u32,
    given: u32,
    integer: i64,
    number: f64,
    string: Str,
    list: *const Str,
    list_len: usize,
}

#[repr(C)]
struct Config {
    struct_size: u32,
    value_size: u32,
    name: Str,
    state_dir: Str,
    values: *const u8, // ConfigValue, value_size bytes from one to the next
    count: usize,
}

#[repr(C)]
struct Plugin {
    struct_size: u32,
    reserved: u32,
    instance: *mut c_void,
    init: extern "C" fn(*mut c_void, *const Config, *mut c_void) -> i32,
    start: extern "C" fn(*mut c_void, *mut c_void) -> i32,
    stop: extern "C" fn(*mut c_void, i64, *mut c_void) -> i32,
    destroy: extern "C" fn(*mut c_void),
    query: extern "C" fn(*mut c_void, Str) -> *const c_void,
}

#[repr(C)]
pub struct Entry {
    struct_size: u32,
    magic: u32,
    abi_major: u32,
    abi_minor: u32,
    id: *const c_char,
    version: *const c_char,
    role: *const c_char,
    create: extern "C" fn(*const c_void, *mut c_void, *mut c_void) -> i32,
}
unsafe impl Sync for Entry {}

#[repr(C)]
struct Candidate {
    node: Str,
    cpu_total_milli: i64,
    cpu_free_milli: i64,
    memory_total_bytes: i64,
    memory_free_bytes: i64,
    copies_running: u32,
    copies_pending: u32,
    copies_of_service: u32,
    has_image: u32,
    labels: *const c_void,
    label_count: usize,
}

#[repr(C)]
struct Request {
    struct_size: u32,
    candidate_size: u32, // bytes from one candidate to the next: a newer host's may be longer than ours
    service: Str,
    cpu_milli: i64,
    memory_bytes: i64,
    instances_wanted: u32,
    reserved: u32,
}

type Score = extern "C" fn(*mut c_void, *const c_void, *const Request, *const u8, usize, *mut [i64; 4], *mut c_void) -> i32;

#[repr(C)]
struct Placement {
    struct_size: u32,
    key_count: u32,
    key_names: [Str; 4],
    score: Score,
}

// Its address is what the host knows the instance by.
#[repr(C)]
struct Spread {
    table: Placement,
    coarse: i64,
}

const fn text(bytes: &'static [u8]) -> Str {
    Str { ptr: bytes.as_ptr(), len: bytes.len() }
}

// A view of what the host gave, for as long as the slot runs.
unsafe fn view<'a>(s: Str) -> &'a [u8] {
    if s.ptr.is_null() { &[] } else { std::slice::from_raw_parts(s.ptr, s.len) }
}

// The share that is used, in steps: smaller wins.
fn used(total: i64, free: i64, coarse: i64) -> i64 {
    if total <= 0 { coarse } else { coarse - free.clamp(0, total) / (total / coarse).max(1) }
}

extern "C" fn score(instance: *mut c_void, _snapshot: *const c_void, request: *const Request, candidates: *const u8,
                    count: usize, keys: *mut [i64; 4], _error: *mut c_void) -> i32 {
    unsafe {
        let spread = &*(instance as *const Spread);
        for i in 0..count {
            let c = &*(candidates.add(i * (*request).candidate_size as usize) as *const Candidate);
            *keys.add(i) = [
                used(c.cpu_total_milli, c.cpu_free_milli, spread.coarse),
                used(c.memory_total_bytes, c.memory_free_bytes, spread.coarse),
                0,
                0,
            ];
        }
    }
    OK
}

extern "C" fn init(instance: *mut c_void, config: *const Config, _error: *mut c_void) -> i32 {
    unsafe {
        let (spread, config) = (&mut *(instance as *mut Spread), &*config);
        for i in 0..config.count {
            let value = &*(config.values.add(i * config.value_size as usize) as *const ConfigValue);
            if view(value.key) == b"coarse" {
                spread.coarse = value.integer;
            }
        }
    }
    OK
}

extern "C" fn start(_instance: *mut c_void, _error: *mut c_void) -> i32 {
    OK
}

extern "C" fn stop(_instance: *mut c_void, _deadline_ns: i64, _error: *mut c_void) -> i32 {
    OK
}

extern "C" fn destroy(instance: *mut c_void) {
    unsafe { drop(Box::from_raw(instance as *mut Spread)) }
}

extern "C" fn query(instance: *mut c_void, id: Str) -> *const c_void {
    unsafe { if view(id) == INTERFACE { ptr::addr_of!((*(instance as *const Spread)).table) as *const c_void } else { ptr::null() } }
}

extern "C" fn create(_host: *const c_void, out: *mut c_void, _error: *mut c_void) -> i32 {
    const NAMES: [Str; 4] = [text(b"processors used"), text(b"memory used"), text(b""), text(b"")];
    let table = Placement { struct_size: size_of::<Placement>() as u32, key_count: 2, key_names: NAMES, score };
    let plugin = out as *mut Plugin;
    unsafe {
        if ((*plugin).struct_size as usize) < size_of::<Plugin>() {
            return INVALID;
        }
        let instance = Box::into_raw(Box::new(Spread { table, coarse: 100 })) as *mut c_void;
        let struct_size = size_of::<Plugin>() as u32;
        plugin.write(Plugin { struct_size, reserved: 0, instance, init, start, stop, destroy, query });
    }
    OK
}

#[no_mangle]
#[allow(non_upper_case_globals)]
pub static gantry_plugin_entry: Entry = Entry {
    struct_size: size_of::<Entry>() as u32,
    magic: MAGIC,
    abi_major: ABI_MAJOR,
    abi_minor: ABI_MINOR,
    id: GANTRY_PLUGIN_ID.as_ptr() as *const c_char,
    version: GANTRY_PLUGIN_VERSION.as_ptr() as *const c_char,
    role: GANTRY_PLUGIN_ROLE.as_ptr() as *const c_char,
    create,
};
