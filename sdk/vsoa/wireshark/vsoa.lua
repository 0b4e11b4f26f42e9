-- VSOA for Wireshark and tshark (3.6 and later).
--
--   tshark -X lua_script:vsoa.lua -r capture.pcapng
--   or copy it into the folder "Personal Lua Plugins" (Help, About, Folders)
--
-- VSOA has no port of its own: connections and datagrams are known by what they hold. Where that is not enough (a capture
-- that begins in the middle, a port that another dissector claims, as GSM over IP does 3002), name the ports in the
-- preferences of VSOA, or use "Decode As". The ports of the vendor's samples are named already.
-- Filters: vsoa, vsoa.type == 1, vsoa.url == "/axis", vsoa.status != 0, vsoa.malformed, vsoa_position.

local HEADER, MAGIC = 20, 0x29
local MOST_TCP, MOST_UDP = 262144, 65507
local SERVINFO, RPC, PUBLISH, DATAGRAM, QOSSETUP, NOOP = 0, 1, 4, 5, 6, 0xfe
local REPLY, TUNNEL, SET, RESERVED = 0x01, 0x02, 0x04, 0x38

local TYPES = {
  [0] = "SERVINFO", [1] = "RPC", [2] = "SUBSCRIBE", [3] = "UNSUBSCRIBE", [4] = "PUBLISH", [5] = "DATAGRAM",
  [6] = "QOSSETUP", [0xfe] = "NOOP", [0xff] = "PINGECHO",
}
local STATUS = {
  [0] = "success", [1] = "wrong password", [2] = "bad arguments", [3] = "invalid url", [4] = "no responding",
  [5] = "no permissions", [6] = "no memory", [7] = "proxy error",
}
local METHODS = { [0] = "GET", [1] = "SET" }

local vsoa = Proto("vsoa", "VSOA")
local f = {
  magic = ProtoField.uint8("vsoa.magic", "Magic", base.HEX, nil, 0x0f),
  version = ProtoField.uint8("vsoa.version", "Version", base.DEC, nil, 0xf0),
  type = ProtoField.uint8("vsoa.type", "Type", base.DEC, TYPES),
  flags = ProtoField.uint8("vsoa.flags", "Flags", base.HEX),
  reply = ProtoField.bool("vsoa.flags.reply", "Reply", 8, nil, REPLY),
  tunnel = ProtoField.bool("vsoa.flags.tunnel", "Tunnel", 8, nil, TUNNEL),
  set = ProtoField.bool("vsoa.flags.set", "Set", 8, nil, SET),
  reserved = ProtoField.uint8("vsoa.flags.reserved", "Reserved", base.HEX, nil, RESERVED),
  pad = ProtoField.uint8("vsoa.flags.pad", "Pad bytes", base.DEC, nil, 0xc0),
  method = ProtoField.uint8("vsoa.method", "Method", base.DEC, METHODS, SET),
  status = ProtoField.uint8("vsoa.status", "Status", base.DEC, STATUS),
  priority = ProtoField.uint8("vsoa.priority", "Priority", base.DEC),
  seqno = ProtoField.uint32("vsoa.seqno", "Sequence number", base.DEC),
  client = ProtoField.uint32("vsoa.client_id", "Client id", base.DEC),
  tunid = ProtoField.uint16("vsoa.tunid", "Tunnel id (port)", base.DEC),
  quick_port = ProtoField.uint16("vsoa.quick_port", "UDP port of the server", base.DEC),
  url_len = ProtoField.uint16("vsoa.url_len", "Length of url", base.DEC),
  param_len = ProtoField.uint32("vsoa.param_len", "Length of param", base.DEC),
  data_len = ProtoField.uint32("vsoa.data_len", "Length of data", base.DEC),
  url = ProtoField.string("vsoa.url", "Url", base.UNICODE),
  param = ProtoField.string("vsoa.param", "Param", base.UNICODE),
  data = ProtoField.bytes("vsoa.data", "Data"),
  padding = ProtoField.bytes("vsoa.padding", "Padding"),
  response_in = ProtoField.framenum("vsoa.response_in", "Answered in", base.NONE, frametype.RESPONSE),
  response_to = ProtoField.framenum("vsoa.response_to", "Answer to", base.NONE, frametype.REQUEST),
  answers = ProtoField.string("vsoa.answers", "Answers url", base.UNICODE),
  time = ProtoField.relative_time("vsoa.time", "Time since the request"),
}
vsoa.fields = f

local e = {
  magic = ProtoExpert.new("vsoa.bad_magic", "Not VSOA: the first byte is not 0x29", expert.group.MALFORMED,
    expert.severity.ERROR),
  length = ProtoExpert.new("vsoa.too_long", "The header announces more than a packet may hold", expert.group.MALFORMED,
    expert.severity.ERROR),
  short = ProtoExpert.new("vsoa.truncated", "Less than the header announces", expert.group.MALFORMED,
    expert.severity.ERROR),
  type = ProtoExpert.new("vsoa.unknown_type", "Unknown type", expert.group.PROTOCOL, expert.severity.WARN),
  reserved = ProtoExpert.new("vsoa.reserved_flags", "Reserved flags are set", expert.group.PROTOCOL, expert.severity.NOTE),
  status = ProtoExpert.new("vsoa.refused", "The request was not successful", expert.group.RESPONSE_CODE,
    expert.severity.NOTE),
  url = ProtoExpert.new("vsoa.bad_url", "A url begins with /", expert.group.PROTOCOL, expert.severity.WARN),
}
vsoa.experts = e

vsoa.prefs.ports = Pref.range("Ports", "3001-3002,3005", "TCP and UDP ports that are looked at first", 65535)

-- Requests without an answer so far: by the two ends, whoever sends, and number. Answers: by their frame, place and
-- number.
local waiting, answered, answer_of = {}, {}, {}
-- The frame with the first packet of a connection: from there on what is no VSOA is malformed, before it is another's.
local known_since = {}
function vsoa.init()
  waiting, answered, answer_of, known_since = {}, {}, {}, {}
end

-- Both directions of a connection have the same. (tcp.stream is not to be had in a pass without a tree.)
local function connection_of(pinfo)
  local one = tostring(pinfo.src) .. " " .. pinfo.src_port
  local other = tostring(pinfo.dst) .. " " .. pinfo.dst_port
  return one < other and one .. " " .. other or other .. " " .. one
end

local function u8(tvb, at) return tvb(at, 1):uint() end

-- The length of the packet that begins at an offset of tvb, which holds its header. Numbers are doubles: nothing overflows.
local function length_at(tvb, at, with_pad)
  local length = HEADER + tvb(at + 10, 2):uint() + tvb(at + 12, 4):uint() + tvb(at + 16, 4):uint()
  return with_pad and length + bit.rshift(u8(tvb, at + 2), 6) or length
end

-- Matches answers to requests in the first pass and remembers both for later ones.
local function match(pinfo, tree, at, type, reply, seqno, url)
  if type == PUBLISH or type == DATAGRAM or type == QOSSETUP or type == NOOP then return end
  local call = connection_of(pinfo) .. " " .. seqno
  local here = pinfo.number .. " " .. at .. " " .. call
  if not pinfo.visited then
    if not reply then
      waiting[call] = { frame = pinfo.number, time = pinfo.abs_ts, url = url, key = here }
    elseif waiting[call] then
      answer_of[here] = waiting[call]
      answered[waiting[call].key] = pinfo.number
      waiting[call] = nil
    end
  end
  local request = reply and answer_of[here]
  if request then
    tree:add(f.response_to, request.frame):set_generated()
    if request.url ~= "" then tree:add(f.answers, request.url):set_generated() end
    local took = math.max(0, pinfo.abs_ts - request.time)
    local whole = math.floor(took)
    tree:add(f.time, NSTime.new(whole, math.floor((took - whole) * 1e9 + 0.5))):set_generated()
    return request.url
  elseif not reply and answered[here] then
    tree:add(f.response_in, answered[here]):set_generated()
  end
end

local function add_flags(tree, tvb, type, reply)
  local range = tvb(2, 1)
  local flags = tree:add(f.flags, range)
  for _, field in ipairs({ f.reply, f.tunnel, f.set }) do flags:add(field, range) end
  local reserved = flags:add(f.reserved, range)
  if bit.band(range:uint(), RESERVED) ~= 0 then reserved:add_proto_expert_info(e.reserved) end
  flags:add(f.pad, range)
  if type == RPC and not reply then tree:add(f.method, range) end
end

local function add_body(tree, tvb, type, reply, lengths)
  local at = HEADER
  local url, param = "", ""
  if lengths.url > 0 then
    url = tvb(at, lengths.url):string(ENC_UTF_8)
    local item = tree:add(f.url, tvb(at, lengths.url), url)
    if url:sub(1, 1) ~= "/" then item:add_proto_expert_info(e.url) end
  end
  at = at + lengths.url
  if lengths.param > 0 then
    param = tvb(at, lengths.param):string(ENC_UTF_8)
    tree:add(f.param, tvb(at, lengths.param), param)
  end
  at = at + lengths.param
  if lengths.data > 0 then
    local data = tree:add(f.data, tvb(at, lengths.data))
    if type == SERVINFO and reply and lengths.data >= 4 then
      data:add(f.client, tvb(at, 4))
      if lengths.data >= 6 then data:add(f.quick_port, tvb(at + 4, 2)) end
    end
  end
  at = at + lengths.data
  if at < tvb:len() then tree:add(f.padding, tvb(at)) end
  return url, param
end

local function summary(type, flags, status, seqno, url, param, data)
  local reply = bit.band(flags, REPLY) ~= 0
  local out = TYPES[type] or string.format("type 0x%02x", type)
  if type == RPC and not reply then out = out .. (bit.band(flags, SET) ~= 0 and " SET" or " GET") end
  if type == QOSSETUP then
    out = out .. " priority " .. status
  elseif reply then
    out = out .. " reply: " .. (STATUS[status] or ("status " .. status))
  end
  if seqno ~= 0 then out = out .. " #" .. seqno end
  if url and url ~= "" then out = out .. " " .. url end
  if param ~= "" then out = out .. " " .. (#param > 80 and param:sub(1, 80) .. ".." or param) end
  if data > 0 then out = out .. " [" .. data .. " bytes]" end
  return out
end

-- One packet; tvb holds it and nothing else. where: its place in the stream's piece, to tell packets of a frame apart.
local function dissect_packet(tvb, pinfo, root, where, quick)
  pinfo.cols.protocol = "VSOA"
  local tree = root:add(vsoa, tvb())
  if u8(tvb, 0) ~= MAGIC then
    tree:add_proto_expert_info(e.magic)
    pinfo.cols.info = "not VSOA"
    return
  end
  local type, flags, status, seqno = u8(tvb, 1), u8(tvb, 2), u8(tvb, 3), tvb(4, 4):uint()
  local reply = bit.band(flags, REPLY) ~= 0
  tree:add(f.magic, tvb(0, 1))
  tree:add(f.version, tvb(0, 1))
  local type_item = tree:add(f.type, tvb(1, 1))
  if not TYPES[type] then type_item:add_proto_expert_info(e.type) end
  add_flags(tree, tvb, type, reply)
  local status_item = tree:add(f.status, tvb(3, 1))
  if type == QOSSETUP then
    tree:add(f.priority, tvb(3, 1))
  elseif reply and status ~= 0 then
    status_item:add_proto_expert_info(e.status)
  end
  tree:add(f.seqno, tvb(4, 4))
  if quick and type == DATAGRAM and seqno ~= 0 then tree:add(f.client, tvb(4, 4)) end
  tree:add(f.tunid, tvb(8, 2))
  tree:add(f.url_len, tvb(10, 2))
  tree:add(f.param_len, tvb(12, 4))
  tree:add(f.data_len, tvb(16, 4))
  local lengths = { url = tvb(10, 2):uint(), param = tvb(12, 4):uint(), data = tvb(16, 4):uint() }
  local total = length_at(tvb, 0, true)
  if total > (quick and MOST_UDP or MOST_TCP) then
    tree:add_proto_expert_info(e.length, string.format("The header announces %.0f bytes, at most %d are allowed", total,
      quick and MOST_UDP or MOST_TCP))
    pinfo.cols.info = "too long"
    return
  end
  if length_at(tvb, 0, false) > tvb:len() then
    tree:add_proto_expert_info(e.short)
    pinfo.cols.info = "truncated"
    return
  end
  local url, param = add_body(tree, tvb, type, reply, lengths)
  local answers = not quick and match(pinfo, tree, where, type, reply, seqno, url) or nil
  local line = summary(type, flags, status, seqno, url ~= "" and url or answers, param, lengths.data)
  tree:append_text(", " .. line)
  return line
end

-- What several packets of a frame say stands in one line.
local function say(pinfo, lines)
  if #lines > 0 then pinfo.cols.info = table.concat(lines, " | ") end
end

local function dissect_tcp(tvb, pinfo, root)
  local at, lines = 0, {}
  local connection = connection_of(pinfo)
  local known = known_since[connection] and known_since[connection] <= pinfo.number
  if not known and u8(tvb, 0) ~= MAGIC then return 0 end
  while at < tvb:len() do
    local left = tvb:len() - at
    if u8(tvb, at) ~= MAGIC then
      dissect_packet(tvb(at):tvb(), pinfo, root, at, false)
      break
    end
    if left < HEADER then
      pinfo.desegment_offset, pinfo.desegment_len = at, DESEGMENT_ONE_MORE_SEGMENT
      break
    end
    local length = length_at(tvb, at, true)
    if length > MOST_TCP then
      dissect_packet(tvb(at):tvb(), pinfo, root, at, false)
      break
    end
    if left < length then
      pinfo.desegment_offset, pinfo.desegment_len = at, length - left
      break
    end
    local line = dissect_packet(tvb(at, length):tvb(), pinfo, root, at, false)
    if line then
      lines[#lines + 1] = line
      known_since[connection] = math.min(known_since[connection] or pinfo.number, pinfo.number)
    end
    at = at + length
  end
  pinfo.cols.protocol = "VSOA"
  say(pinfo, lines)
  return tvb:len()
end

local function dissect_udp(tvb, pinfo, root)
  if tvb:len() == 0 or u8(tvb, 0) ~= MAGIC then return 0 end
  if tvb:len() < HEADER then
    pinfo.cols.protocol = "VSOA"
    root:add(vsoa, tvb()):add_proto_expert_info(e.short)
    return tvb:len()
  end
  local line = dissect_packet(tvb, pinfo, root, 0, true)
  if line then pinfo.cols.info = "quick " .. line end
  return tvb:len()
end

function vsoa.dissector(tvb, pinfo, root)
  -- 2 is TCP, 3 is UDP.
  if pinfo.port_type == 3 then return dissect_udp(tvb, pinfo, root) end
  return dissect_tcp(tvb, pinfo, root)
end

-- Could this be the beginning of a packet?
local function looks_right(tvb, most)
  if tvb:len() < HEADER or u8(tvb, 0) ~= MAGIC then return false end
  if not TYPES[u8(tvb, 1)] or bit.band(u8(tvb, 2), RESERVED) ~= 0 then return false end
  if length_at(tvb, 0, true) > most then return false end
  return tvb(10, 2):uint() == 0 or tvb:len() == HEADER or u8(tvb, HEADER) == 0x2f
end

vsoa:register_heuristic("tcp", function(tvb, pinfo, root)
  -- A login is longer than a header, and it is the first thing on a connection: its first bytes are enough.
  local login = tvb:len() >= 4 and tvb:len() < HEADER and tvb(0, 2):uint() == 0x2900 and u8(tvb, 3) == 0
  if not login and not looks_right(tvb, MOST_TCP) then return false end
  pinfo.conversation = vsoa
  vsoa.dissector(tvb, pinfo, root)
  return true
end)

vsoa:register_heuristic("udp", function(tvb, pinfo, root)
  if not looks_right(tvb, MOST_UDP) or length_at(tvb, 0, false) > tvb:len() then return false end
  dissect_udp(tvb, pinfo, root)
  return true
end)

-- The position service: {"name": ...} and {"addr": ..., "port": ...}, one JSON text in a datagram.

local position = Proto("vsoa_position", "VSOA position service")
local p = {
  name = ProtoField.string("vsoa_position.name", "Name", base.UNICODE),
  domain = ProtoField.uint32("vsoa_position.domain", "Domain", base.DEC, { [2] = "IPv4", [10] = "IPv6" }),
  address = ProtoField.string("vsoa_position.addr", "Address"),
  port = ProtoField.uint32("vsoa_position.port", "Port", base.DEC),
  security = ProtoField.bool("vsoa_position.security", "TLS"),
  text = ProtoField.string("vsoa_position.text", "Text", base.UNICODE),
  query = ProtoField.bool("vsoa_position.query", "Query"),
  known = ProtoField.bool("vsoa_position.known", "Known"),
}
position.fields = p
local bad_json = ProtoExpert.new("vsoa_position.malformed", "Expected a query {\"name\"} or an answer {\"addr\",\"port\"} or {}",
  expert.group.MALFORMED, expert.severity.ERROR)
position.experts = { bad_json }

-- The members this protocol has; it has no nested ones.
local function read_position(text)
  if text:match("^%s*{%s*}%s*$") then return { empty = true } end
  if not text:match("^%s*{.*}%s*$") then return nil end
  return {
    name = text:match('"name"%s*:%s*"([^"]*)"'),
    domain = tonumber(text:match('"domain"%s*:%s*(%d+)')),
    address = text:match('"addr"%s*:%s*"([^"]*)"'),
    port = tonumber(text:match('"port"%s*:%s*(%d+)')),
    security = text:match('"security"%s*:%s*(%a+)'),
  }
end

local function answer_text(m)
  return (m.address:find(":") and "[" .. m.address .. "]" or m.address) .. ":" .. m.port
end

function position.dissector(tvb, pinfo, root)
  pinfo.cols.protocol = "VSOA-POS"
  local text = tvb:len() > 0 and tvb():string(ENC_UTF_8) or "{}"
  local tree = root:add(position, tvb())
  local m = read_position(text)
  local answer = m and m.address and m.port and m.port > 0 and m.port < 65536
  if not m or not (answer or m.empty or (m.name and not m.address and not m.port)) then
    tree:add_proto_expert_info(bad_json)
    pinfo.cols.info = "malformed"
    return tvb:len()
  end
  if tvb:len() > 0 then tree:add(p.text, tvb(), text) end
  tree:add(p.query, not answer and not m.empty):set_generated()
  if m.name then tree:add(p.name, m.name) end
  if m.domain then tree:add(p.domain, m.domain) end
  if answer then
    tree:add(p.known, true):set_generated()
    tree:add(p.address, m.address)
    tree:add(p.port, m.port)
    if m.security then tree:add(p.security, m.security == "true") end
    pinfo.cols.info = "answer " .. (m.name and m.name .. " is " or "") .. answer_text(m)
  elseif m.empty then
    tree:add(p.known, false):set_generated()
    pinfo.cols.info = "answer: unknown"
  else
    pinfo.cols.info = "who is " .. m.name
  end
  return tvb:len()
end

position:register_heuristic("udp", function(tvb, pinfo, root)
  if tvb:len() < 2 or tvb:len() > 2048 or u8(tvb, 0) ~= 0x7b then return false end
  local m = read_position(tvb():string(ENC_UTF_8))
  local answer = m and m.address and m.port
  if not m or m.empty or not (answer or m.name) then return false end
  -- Others ask in JSON, too: a query has nothing but these two members.
  if not answer then
    local rest = tvb():string(ENC_UTF_8):gsub('"name"%s*:%s*"[^"]*"', ""):gsub('"domain"%s*:%s*%d+', "")
    if rest:match("^%s*{[%s,]*}%s*$") == nil then return false end
  end
  pinfo.conversation = position
  position.dissector(tvb, pinfo, root)
  return true
end)

DissectorTable.get("udp.port"):add(54, position)
for _, protocol in ipairs({ "tcp.port", "udp.port" }) do DissectorTable.get(protocol):add_for_decode_as(vsoa) end
DissectorTable.get("udp.port"):add_for_decode_as(position)

local ports = ""
local function name_ports()
  if ports == vsoa.prefs.ports then return end
  for _, name in ipairs({ "tcp.port", "udp.port" }) do
    local dissectors = DissectorTable.get(name)
    if ports ~= "" then dissectors:remove(ports, vsoa) end
    if vsoa.prefs.ports ~= "" then dissectors:add(vsoa.prefs.ports, vsoa) end
  end
  ports = vsoa.prefs.ports
end
vsoa.prefs_changed = name_ports
name_ports()
