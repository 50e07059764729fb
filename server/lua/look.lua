-- The front's look at every request, run by Envoy before anything goes on to Triton.
--
-- A request passes if it is one that docs/serving.md describes: a whole one, within its limits, of an
-- ensemble's one image and the parameters of the contract. Others get a client error that names
-- what was wrong. All that a client sent in headers stays here. server/front.py writes SETTINGS
-- before these lines:
--   ensembles    names that may be asked -> what a key must allow for it, detect or read
--   names        the same names, to be shown
--   body_max     largest body, in bytes
--   in_flight    most inferences under way
--   retry_ms     after which a client that was refused may come again
--
-- Envoy lets a request through when a script fails, so that each one that passes is marked, and
-- the filter after this one refuses those without the mark.

local SMALL = 65536 -- most bytes of JSON beside the image's text; of a gRPC message beside it
local DEPTH = 8 -- of JSON
local FIELDS = 256 -- of a gRPC message, of all its levels
local ESCAPES = 500000 -- in the image's text: PHP writes \/ for each /
local PARAMETERS = {
  confidence = true, iou = true, max_detections = true, operating_point = true, page = true,
}
local KNOWN = "confidence, confidence_<class>, iou, max_detections, operating_point, page"

local function check_parameter(name)
  if not (PARAMETERS[name] or name:find("^confidence_.")) then
    refuse(BAD, "parameter %s: unknown, known are %s", shown(name), KNOWN)
  end
end

local function check_ensemble(name)
  if not SETTINGS.ensembles[name] then
    refuse(ABSENT, "unknown model: '%s', known are %s", shown(name), SETTINGS.names)
  end
end

---------------------------------------------------------------------------------------------------
-- JSON. What comes out of `parsed` is what the text says, but for strings that are long: LONG

local LONG = setmetatable({}, { __tostring = function() return "..." end })
local ARRAY = {} -- the metatable of arrays
local LITERALS = {
  t = { "true", true }, f = { "false", false }, n = { "null", ARRAY },
  N = { "NaN", 0 / 0 }, I = { "Infinity", 1 / 0 }, -- as Python writes them
}

-- the value of `text`, a whole JSON document: tables, strings, numbers, booleans, null as ARRAY
local function parsed(text)
  local quote, slash = 0, 0 -- the next of each from the place where it was last looked for
  local small, escapes = 0, 0
  local value

  local function bad(at, what)
    refuse(BAD, "JSON: %s at byte %d", what, at)
  end

  local function spend(at, bytes)
    small = small + bytes
    if small > SMALL then
      bad(at, string.format("more than %d bytes beside the image", SMALL))
    end
  end

  local function after_space(at)
    local start = at
    while true do
      local byte = text:byte(at)
      if byte ~= 32 and byte ~= 10 and byte ~= 13 and byte ~= 9 then
        spend(at, at - start + 1)
        return at, byte
      end
      if at - start > SMALL then
        bad(at, "too much space")
      end
      at = at + 1
    end
  end

  -- the string whose first quote is at `at`, and the place after its last
  local function string_at(at)
    local from = at + 1
    local look = from
    while true do
      if quote < look then -- each is looked for once: a search for each escape would take minutes
        quote = text:find('"', look, true) or bad(at, "a string without end")
      end
      if slash and slash < look then
        slash = text:find("\\", look, true)
      end
      if not slash or slash > quote then
        break
      end
      escapes = escapes + 1
      if escapes > ESCAPES then
        bad(slash, string.format("more than %d escapes", ESCAPES))
      end
      look = slash + 2
    end
    if quote - from > 1024 then
      return LONG, quote + 1
    end
    spend(at, quote - from)
    return text:sub(from, quote - 1), quote + 1
  end

  function value(at, depth)
    if depth > DEPTH then
      bad(at, string.format("deeper than %d", DEPTH))
    end
    local byte
    at, byte = after_space(at)
    if byte == 34 then -- "
      return string_at(at)
    elseif byte == 123 then -- {
      local object = {}
      at, byte = after_space(at + 1)
      if byte == 125 then
        return object, at + 1
      end
      while true do
        if byte ~= 34 then
          bad(at, "no name")
        end
        local name
        name, at = string_at(at)
        if name == LONG or name:find("\\", 1, true) or object[name] ~= nil then
          bad(at, "a name that is long, escaped or there twice")
        end
        at, byte = after_space(at)
        if byte ~= 58 then
          bad(at, "no colon")
        end
        object[name], at = value(at + 1, depth + 1)
        at, byte = after_space(at)
        if byte == 125 then
          return object, at + 1
        elseif byte ~= 44 then
          bad(at, "no comma or }")
        end
        at, byte = after_space(at + 1)
      end
    elseif byte == 91 then -- [
      local array = setmetatable({}, ARRAY)
      at, byte = after_space(at + 1)
      if byte == 93 then
        return array, at + 1
      end
      while true do
        array[#array + 1], at = value(at, depth + 1)
        at, byte = after_space(at)
        if byte == 93 then
          return array, at + 1
        elseif byte ~= 44 then
          bad(at, "no comma or ]")
        end
        at = at + 1
      end
    end
    local literal = byte and LITERALS[string.char(byte)]
    if literal and text:sub(at, at + #literal[1] - 1) == literal[1] then
      return literal[2], at + #literal[1]
    end
    local number = text:sub(at, at + 39):match("^-?%d+%.?%d*[eE]?[+-]?%d*")
    if not number or not tonumber(number) or #number > 32 then
      bad(at, byte and "no value" or "the end")
    end
    spend(at, #number)
    return tonumber(number), at + #number
  end

  local found, at = value(1, 1)
  local _, byte = after_space(at)
  if byte then
    bad(at, "more after the end")
  end
  return found
end

local function is_object(found)
  return type(found) == "table" and found ~= LONG and getmetatable(found) ~= ARRAY
end

local function is_array(found, length)
  return getmetatable(found) == ARRAY and found ~= ARRAY and #found == length
end

local function check_names(found, where, ...)
  if not is_object(found) then
    refuse(BAD, "%s: no JSON object", where)
  end
  local known = {}
  for _, name in ipairs({ ... }) do
    known[name] = true
  end
  for name in pairs(found) do
    if not known[name] then
      refuse(BAD, "%s: %s is unknown, known are %s", where, shown(name), table.concat({ ... }, ", "))
    end
  end
end

local function check_parameters(found)
  if not is_object(found) then
    refuse(BAD, "parameters: no JSON object")
  end
  for name, value in pairs(found) do
    check_parameter(name)
    if type(value) == "table" or type(value) == "string" and #value > 64 then
      refuse(BAD, "parameter %s: neither number, truth nor short text", shown(name))
    end
    if type(value) == "number" and not (value - value == 0) then
      refuse(BAD, "parameter %s: %s, limit a finite number", shown(name), tostring(value))
    end
  end
end

local function check_id(found)
  if found ~= nil and (type(found) ~= "string" or #found > 256) then
    refuse(BAD, "id: no text of up to 256 characters")
  end
end

-- a body of /generate: {"image": text, "parameters": {...}, "id": text}, or parameters beside it
local function check_generate(text)
  local body = parsed(text)
  if not is_object(body) then
    refuse(BAD, "body: no JSON object")
  end
  local image = body.image
  if image == nil then
    refuse(BAD, "image: missing")
  end
  if is_array(image, 1) then
    image = image[1]
  end
  if type(image) ~= "string" and image ~= LONG then
    refuse(BAD, "image: no text")
  end
  check_id(body.id)
  if body.parameters ~= nil then
    check_parameters(body.parameters)
  end
  body.image, body.id, body.parameters = nil, nil, nil
  check_parameters(body)
end

-- the JSON of /infer; `binary` is how many bytes follow it
local function check_infer(text, binary)
  local body = parsed(text)
  check_names(body, "body", "id", "inputs", "outputs", "parameters")
  check_id(body.id)
  if not is_array(body.inputs, 1) then
    refuse(BAD, "inputs: no list of one")
  end
  local input = body.inputs[1]
  check_names(input, "input", "name", "shape", "datatype", "data", "parameters")
  if input.name ~= "image" or input.datatype ~= "BYTES" then
    refuse(BAD, "input: name %s, datatype %s; it is image, BYTES",
      shown(tostring(input.name)), shown(tostring(input.datatype)))
  end
  if not is_array(input.shape, 1) or input.shape[1] ~= 1 then
    refuse(BAD, "input image: its shape is [1]")
  end
  local sizes = input.parameters or {}
  check_names(sizes, "input image: parameters", "binary_data_size")
  if binary > 0 or sizes.binary_data_size ~= nil then
    if sizes.binary_data_size ~= binary or input.data ~= nil then
      refuse(BAD, "input image: binary_data_size and no data, as %d bytes follow the JSON", binary)
    end
  elseif not is_array(input.data, 1)
    or type(input.data[1]) ~= "string" and input.data[1] ~= LONG then
    refuse(BAD, "input image: data is a list of one text")
  end
  local outputs = body.outputs
  if outputs ~= nil then
    if getmetatable(outputs) ~= ARRAY or #outputs > 16 then
      refuse(BAD, "outputs: no list of up to 16")
    end
    for _, output in ipairs(outputs) do
      check_names(output, "output", "name", "parameters")
      if type(output.name) ~= "string" or #output.name > 128 then
        refuse(BAD, "output: no name")
      end
      check_names(output.parameters or {}, "output: parameters", "binary_data")
      if output.parameters and type(output.parameters.binary_data) ~= "boolean" then
        refuse(BAD, "output: parameters: binary_data is true or false")
      end
    end
  end
  local parameters = body.parameters
  if parameters ~= nil then
    if is_object(parameters) and type(parameters.binary_data_output) == "boolean" then
      parameters.binary_data_output = nil
    end
    check_parameters(parameters)
  end
end

-- where the image of a request is in its body: what comes out of check_body beside its model
local function place(at, length)
  return { at = at, length = length }
end

-- four bytes that tell a length, least first, and as many bytes as they tell
local function check_prefix(buffer, at, length)
  if length < 4 then
    refuse(BAD, "input image: %d bytes, too few for its length", length)
  end
  local a, b, c, d = buffer:getBytes(at, 4):byte(1, 4)
  local told = a + 256 * (b + 256 * (c + 256 * d))
  if told ~= length - 4 then
    refuse(BAD, "input image: its length says %d bytes, %d are there", told, length - 4)
  end
end

local function check_http_infer(headers, buffer, length)
  local json = headers:get("inference-header-content-length")
  if json == nil then
    check_infer(buffer:getBytes(0, length), 0)
    return place(0, length)
  end
  local size = json:find("^%d%d?%d?%d?%d?%d?$") and tonumber(json)
  if not size or size > SMALL or size > length then
    refuse(BAD, "Inference-Header-Content-Length: %s, limit 0 to %d", shown(json),
      math.min(SMALL, length))
  end
  if size > 0 then -- else the body is the image
    check_infer(buffer:getBytes(0, size), length - size)
    if length > size then
      check_prefix(buffer, size, length - size)
      return place(size + 4, length - size - 4)
    end
  end
  return place(0, length)
end

---------------------------------------------------------------------------------------------------
-- gRPC: protobuf's wire format, https://protobuf.dev/programming-guides/encoding

-- a function that gives the byte at a place of `buffer`, read in pieces
local function bytes_of(buffer, length)
  local piece, first = "", 0
  return function(at)
    if at >= length then
      refuse(BAD, "message: cut short")
    end
    if at < first or at >= first + #piece then
      first, piece = at, buffer:getBytes(at, math.min(4096, length - at))
    end
    return piece:byte(at - first + 1)
  end
end

local function reader(buffer, length)
  local byte_at = bytes_of(buffer, length)
  local fields = 0
  local self = {}

  function self.varint(at)
    local value, scale = 0, 1
    for _ = 1, 10 do
      local byte = byte_at(at)
      at = at + 1
      value = value + (byte % 128) * scale
      if byte < 128 then
        return value, at
      end
      scale = scale * 128
    end
    refuse(BAD, "message: a number without end")
  end

  -- each field from `at` to `stop`: field(number, wire type, value or place, length)
  function self.each(at, stop, where, field)
    while at < stop do
      fields = fields + 1
      if fields > FIELDS then
        refuse(BAD, "message: more than %d fields", FIELDS)
      end
      local tag, size
      tag, at = self.varint(at)
      local number, wire = math.floor(tag / 8), tag % 8
      local value = at
      if wire == 0 then
        value, at = self.varint(at)
      elseif wire == 1 then
        at = at + 8
      elseif wire == 5 then
        at = at + 4
      elseif wire == 2 then
        size, value = self.varint(at)
        at = value + size
      else
        refuse(BAD, "%s: a field of wire type %d", where, wire)
      end
      if at > stop then
        refuse(BAD, "%s: a field longer than the message", where)
      end
      field(number, wire, value, size)
    end
  end

  function self.text(at, size, where)
    if size > 256 then
      refuse(BAD, "%s: %d bytes, limit 256", where, size)
    end
    return size > 0 and buffer:getBytes(at, size) or ""
  end

  return self
end

-- calls fields[number](...) for each field of a message once, or refuses it
local function check_message(read, at, stop, where, once, often)
  local seen = {}
  read.each(at, stop, where, function(number, wire, value, size)
    local handle = once[number] or (often or {})[number]
    if not handle or seen[number] and once[number] then
      refuse(BAD, "%s: field %d is unknown or there twice", where, number)
    end
    seen[number] = true
    if handle.wire ~= wire and not (handle.packed and wire == 2) then
      refuse(BAD, "%s: field %d has wire type %d", where, number, wire)
    end
    handle.check(value, size, wire)
  end)
end

local function text_field(read, where, check)
  return { wire = 2, check = function(at, size)
    check(read.text(at, size, where))
  end }
end

local function anything() end

local function check_grpc_infer(buffer, length)
  local read = reader(buffer, length)
  local images, model, input_seen = 0, nil, false
  local found = place(0, length)
  local function image(at, size)
    images = images + 1
    check_prefix(buffer, at, size)
    found = place(at + 4, size - 4)
  end

  local function parameter(at, size)
    if size > 512 then
      refuse(BAD, "parameter: %d bytes, limit 512", size)
    end
    local named = false
    check_message(read, at, at + size, "parameter", {
      [1] = text_field(read, "parameter", function(name)
        check_parameter(name)
        named = true
      end),
      [2] = { wire = 2, check = function(from, long)
        check_message(read, from, from + long, "parameter", {
          [1] = { wire = 0, check = anything },
          [2] = { wire = 0, check = anything },
          [3] = text_field(read, "parameter", anything),
          [4] = { wire = 1, check = anything },
          [5] = { wire = 0, check = anything },
        })
      end },
    })
    if not named then
      refuse(BAD, "parameter: without a name")
    end
  end

  local function contents(at, size)
    check_message(read, at, at + size, "contents", {
      [8] = { wire = 2, check = function()
        images = images + 1
      end },
    })
  end

  local function input(at, size)
    if input_seen then
      refuse(BAD, "inputs: more than one")
    end
    input_seen = true
    local name, datatype, elements, product = "", "", 0, 1
    check_message(read, at, at + size, "input", {
      [1] = text_field(read, "input name", function(text) name = text end),
      [2] = text_field(read, "input datatype", function(text) datatype = text end),
      [5] = { wire = 2, check = contents },
    }, {
      [3] = { wire = 0, packed = true, check = function(value, long, wire)
        if wire == 0 then
          elements, product = elements + 1, product * value
          return
        end
        local stop = value + long
        while value < stop and elements < 3 do
          local dimension
          dimension, value = read.varint(value)
          elements, product = elements + 1, product * dimension
        end
      end },
    })
    if name ~= "image" or datatype ~= "BYTES" or elements ~= 1 or product ~= 1 then
      refuse(BAD, "input: name %s, datatype %s, %d dimensions; it is image, BYTES, shape [1]",
        shown(name), shown(datatype), elements)
    end
  end

  local function output(at, size)
    check_message(read, at, at + size, "output", {
      [1] = text_field(read, "output name", anything),
    })
  end

  check_message(read, 5, length, "message", {
    [1] = text_field(read, "model_name", function(name) model = name end),
    [2] = text_field(read, "model_version", function(version)
      if version:find("%D") or #version > 9 then
        refuse(BAD, "model_version: %s, expected a whole number", shown(version))
      end
    end),
    [3] = text_field(read, "id", anything),
  }, {
    [4] = { wire = 2, check = parameter },
    [5] = { wire = 2, check = input },
    [6] = { wire = 2, check = output },
    [7] = { wire = 2, check = image },
  })
  check_ensemble(model or "")
  if not input_seen or images ~= 1 then
    refuse(BAD, "image: %d sent, limit 1", images)
  end
  return model, found
end

-- the other calls' messages: up to two texts, a model's name and version
local function check_grpc_small(buffer, length)
  local read = reader(buffer, length)
  local function name(text)
    if text:find("[^%w_.-]") then
      refuse(BAD, "model %s: a name has letters, digits, _, . and -", shown(text))
    end
  end
  check_message(read, 5, length, "message", {
    [1] = text_field(read, "name", name), [2] = text_field(read, "version", name),
  })
end

local function check_grpc(kind, buffer, length)
  if length < 5 then
    refuse(BAD, "message: %d bytes, too few", length)
  end
  local packed, a, b, c, d = buffer:getBytes(0, 5):byte(1, 5)
  if packed ~= 0 then
    refuse(TYPE, "message: compressed, which is not taken")
  end
  local told = ((a * 256 + b) * 256 + c) * 256 + d
  if told ~= length - 5 then
    refuse(BAD, "message: its length says %d bytes, %d are there", told, length - 5)
  end
  if kind == "grpc_infer" then
    return check_grpc_infer(buffer, length)
  elseif length > 1024 then
    refuse(LONG_MESSAGE, "message: %d bytes, limit 1024", length)
  else
    check_grpc_small(buffer, length)
  end
end

---------------------------------------------------------------------------------------------------
-- the request as a whole

-- Inferences under way: a number of each -> its model and when it began, in ms. tritonserver goes
-- on with those whose client has gone, of which no answer comes by here: they count for LEASE times
-- as long as the model takes for an answer at present, within LEASE_MIN_MS and LEASE_MAX_MS.
local under_way, count, last = {}, 0, 0
local LEASE, LEASE_MIN_MS, LEASE_MAX_MS = 1.5, 250, 10000
local answer_ms = {} -- of each model, smoothed
for model in pairs(SETTINGS.ensembles) do
  answer_ms[model] = 500
end

-- When the next refused client is to come again, in ms: each gets a turn of its own, one answer
-- later than the last one's. Clients that all came back after the same time would be refused again
-- together, and every refusal costs what an answer needs.
local next_turn = 0
local WAIT_MIN_MS, WAIT_MAX_MS = 50, 5000

local function wait_ms(model, now)
  next_turn = math.max(next_turn, now + WAIT_MIN_MS) + answer_ms[model] / SETTINGS.in_flight
  next_turn = math.min(next_turn, now + WAIT_MAX_MS)
  return math.ceil(next_turn - now)
end

-- What was under way when a process ended may have ended it: its image is a suspect, and is tried
-- once more, with no other suspect beside it. If that ends a second process, it is refused for
-- HARMFUL_MS. An image is known by its model, its length and pieces of it.
local HARMFUL_MS, SUSPECTS_MAX = 600000, 1000
local PIECES, PIECE = 64, 64
local suspects, suspect_count = {}, 0 -- print of an image -> { ended = processes, replicas, until_ms }
local tried -- the number of the request with a suspect
local ended_ms = {} -- replica -> when it was first seen that a process of it had ended

local function print_of(model, buffer, image)
  local pieces = { model, tostring(image.length) }
  for piece = 0, PIECES - 1 do
    local from = math.floor(piece * math.max(0, image.length - PIECE) / (PIECES - 1))
    pieces[#pieces + 1] = buffer:getBytes(image.at + from, math.min(PIECE, image.length))
  end
  return table.concat(pieces, " ")
end

-- whether an image is a suspect that may be tried
local function is_suspect(print, now)
  local suspect = suspects[print]
  if not suspect or now > suspect.until_ms then
    return false
  end
  if suspect.ended > 1 then
    refuse(HARMFUL, "image: %d processes ended while they looked at it; it is refused for %d s",
      suspect.ended, math.ceil((suspect.until_ms - now) / 1000))
  end
  local other = under_way[tried]
  if other and now - other.began < LEASE_MAX_MS then
    error({ kind = OFF, wait_ms = WAIT_MIN_MS,
      text = "a process ended that looked at the image; it waits for its second try" }, 0)
  end
  return true
end

-- a process of `replica` ended that may have had the request
local function blame(one, replica, now)
  ended_ms[replica] = ended_ms[replica] or now
  if one.began > ended_ms[replica] then
    return -- it came later
  end
  local suspect = suspects[one.print]
  if not suspect or now > suspect.until_ms then
    if suspect_count >= SUSPECTS_MAX then
      suspects, suspect_count = {}, 0
    end
    suspect = { ended = 0, replicas = {} }
    suspects[one.print], suspect_count = suspect, suspect_count + 1
  end
  if not suspect.replicas[replica] then -- else others had the same image
    suspect.replicas[replica] = true
    suspect.ended, suspect.until_ms = suspect.ended + 1, now + HARMFUL_MS
  end
end

local function acquit(one)
  if suspects[one.print] then
    suspects[one.print], suspect_count = nil, suspect_count - 1
  end
end

local function admit(handle, model, print)
  local now = handle:timestamp()
  local suspect = is_suspect(print, now)
  if count >= SETTINGS.in_flight then
    for number, one in pairs(under_way) do
      local lease_ms = math.max(LEASE_MIN_MS, LEASE * answer_ms[one.model])
      if now - one.began > math.min(LEASE_MAX_MS, lease_ms) then
        under_way[number], count = nil, count - 1
      end
    end
    if count >= SETTINGS.in_flight then
      error({ kind = OFF, wait_ms = wait_ms(model, now),
        text = string.format("%d inferences under way, limit %d", count, SETTINGS.in_flight) }, 0)
    end
  end
  last = last + 1
  under_way[last], count = { model = model, began = now, print = print }, count + 1
  if suspect then
    tried = last
  end
  handle:streamInfo():dynamicMetadata():set("countersign", "number", tostring(last))
end

local REPLICA = "x-countersign-replica" -- the socket of the replica that had the request
local NO_STEP = "is not healthy" -- tritonserver's word for a step whose process is gone
local RESET = "reset reason: connection termination" -- Envoy's for a tritonserver that is

-- why an answer failed, if a process may have ended; "" for all others
local function failure_of(handle)
  local headers = handle:headers()
  local grpc = headers:get("grpc-status")
  if grpc then
    return (grpc == "13" or grpc == "14") and headers:get("grpc-message") or ""
  end
  local status = headers:get(":status")
  local body = (status == "500" or status == "503") and handle:body()
  return body and body:getBytes(0, body:length()) or ""
end

-- has the client ask again: another replica has the step, or soon will
local function give_back(headers)
  if headers:get("grpc-status") then
    headers:replace("grpc-status", "14")
    headers:replace("grpc-retry-pushback-ms", tostring(SETTINGS.retry_ms))
  else
    headers:replace(":status", "503")
    headers:replace("retry-after", tostring(math.ceil(SETTINGS.retry_ms / 1000)))
  end
end

-- whether an answer is what the contract has: outputs, or what is wrong with the image
local function is_answer(headers)
  local status, grpc = headers:get(":status"), headers:get("grpc-status")
  return status == "400" or status == "200" and (grpc == nil or grpc == "0" or grpc == "3")
end

function envoy_on_response(handle)
  local replica = (handle:headers():get(REPLICA) or ""):match("^(.+)/")
  handle:headers():remove(REPLICA)
  local told = handle:streamInfo():dynamicMetadata():get("countersign")
  local number = told and tonumber(told.number)
  if not number then
    return
  end
  local one, now = under_way[number], handle:timestamp()
  if one then
    local before = answer_ms[one.model]
    answer_ms[one.model] = before + (now - one.began - before) / 16
    under_way[number], count = nil, count - 1
  end
  local failure = failure_of(handle)
  local headers = handle:headers()
  local no_step = failure:find(NO_STEP, 1, true)
  if no_step then
    give_back(headers)
  end
  if one and is_answer(headers) then
    acquit(one)
  elseif one and replica and (no_step or failure:find(RESET, 1, true)) then
    blame(one, replica, now)
  end
end

local KEPT = {
  [":method"] = true, [":path"] = true, [":authority"] = true, [":scheme"] = true,
  ["content-length"] = true, ["content-type"] = true, ["te"] = true, ["grpc-timeout"] = true,
  ["inference-header-content-length"] = true,
  ["x-forwarded-proto"] = true, -- Envoy's own, which finds no route without it
  ["x-request-id"] = true, -- for the answer and the log
}
local CLUSTER = "x-countersign-cluster" -- which of Envoy's clusters gets the request
local TRIAL = "x-countersign-cluster-trial" -- and which where a version on trial answers it

local function only_known_headers(headers)
  local others = {}
  for name in pairs(headers) do
    if not KEPT[name] then
      others[#others + 1] = name
    end
  end
  for _, name in ipairs(others) do
    headers:remove(name)
  end
end

-- the model that a request's image is for, and the image's place; nil if it has none
local function check_body(kind, headers, buffer, length)
  if kind:find("^grpc") then
    return check_grpc(kind, buffer, length)
  elseif kind == "infer" or kind == "generate" then
    local model = headers:get(":path"):match("^/v2/models/([^/]+)")
    check_ensemble(model)
    if length == 0 then
      refuse(BAD, "body: empty")
    elseif kind == "infer" then
      return model, check_http_infer(headers, buffer, length)
    end
    check_generate(buffer:getBytes(0, length))
    return model, place(0, length)
  elseif length > 0 then
    refuse(BAD, "body: %d bytes, none is expected", length)
  end
end

local function check_request(handle)
  local kind = handle:metadata():get("kind")
  if kind == nil then
    return -- no route leads to Triton
  end
  local headers = handle:headers()
  local id = headers:get("x-request-id") or ""
  if #id > 64 or id:find("[^%w._-]") then
    refuse(BAD, "x-request-id: %s, limit 64 letters, digits, ., _ and -", shown(id))
  end
  local told = tonumber(headers:get("content-length") or "0") or 0
  if told > SETTINGS.body_max then
    refuse(LARGE, "body: %d bytes", told) -- Envoy adds the limit
  end
  local encoding = headers:get("content-encoding") or headers:get("grpc-encoding") or "identity"
  if encoding ~= "identity" then
    refuse(TYPE, "encoding %s: bodies are taken as they are, not compressed", shown(encoding))
  end
  local buffer = handle:body()
  headers = handle:headers()
  local model, image = check_body(kind, headers, buffer, buffer and buffer:length() or 0)
  local may = model and SETTINGS.ensembles[model]
  local key = handle:streamInfo():dynamicMetadata():get("countersign") -- of keys.lua
  key = key and key.may and key
  if key and may and not key.may:find(may, 1, true) then
    refuse(FORBIDDEN, "key %s may not %s", key.key, may)
  end
  if kind == "generate" then
    headers:remove("inference-header-content-length")
  end
  if kind == "generate" or kind == "infer" then
    local binary = headers:get("inference-header-content-length")
    headers:replace("content-type", binary and "application/octet-stream" or "application/json")
  end
  if model then
    handle:streamInfo():dynamicMetadata():set("countersign", "model", model)
    admit(handle, model, print_of(model, buffer, image))
  end
  only_known_headers(headers)
  if key and model and key.bounded then
    local protocol = kind:find("^grpc") and "grpc" or "http"
    headers:replace(CLUSTER, protocol .. "/" .. key.key)
    headers:replace(TRIAL, protocol .. "_trial/" .. key.key)
  end
  local path = headers:get(":path")
  local query = path:find("?", 1, true)
  if query then
    headers:replace(":path", path:sub(1, query - 1))
  end
end

function envoy_on_request(handle)
  local ok, failure = pcall(check_request, handle)
  if ok then
    handle:streamInfo():dynamicMetadata():set("countersign", "looked_at", true)
  else
    respond(handle, failure)
  end
end
