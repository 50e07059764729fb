-- How a request is refused, for the scripts that are read after these lines.

-- how a refusal is told: HTTP's status and gRPC's code
local BAD, DENIED, FORBIDDEN, ABSENT = { 400, 3 }, { 401, 16 }, { 403, 7 }, { 404, 5 }
local LARGE, LONG_MESSAGE, TYPE = { 413, 8 }, { 400, 8 }, { 415, 12 }
local MANY, OFF = { 429, 8 }, { 503, 14 }

local function refuse(kind, ...)
  error({ kind = kind, text = string.format(...) }, 0)
end

local function shown(text)
  text = #text > 64 and text:sub(1, 64) .. "..." or text
  return (text:gsub("[^\32-\126]", "?"))
end

local function told_http(text) -- which Envoy puts between quotes
  return (text:gsub('["\\%c]', "?"))
end

-- answers the request with what refuse() raised
local function respond(handle, failure)
  if type(failure) ~= "table" then
    handle:logErr(tostring(failure))
    failure = { kind = { 500, 13 }, text = "the front failed to read the request" }
  end
  local headers = { [":status"] = tostring(failure.kind[1]) }
  if (handle:headers():get("content-type") or ""):find("^application/grpc") then
    headers["grpc-status"] = tostring(failure.kind[2])
    if failure.wait_ms then
      headers["grpc-retry-pushback-ms"] = tostring(failure.wait_ms)
    end
    return handle:respond(headers, failure.text)
  end
  if failure.kind == DENIED then
    headers["www-authenticate"] = "Bearer"
  end
  if failure.wait_ms then
    headers["retry-after"] = tostring(math.ceil(failure.wait_ms / 1000))
  end
  handle:respond(headers, told_http(failure.text))
end
