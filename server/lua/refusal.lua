-- How a request is refused, for the scripts that are read after these lines.

-- how a refusal is told: HTTP's status, gRPC's code, and its name in the log and the metrics
local BAD, DENIED = { 400, 3, "invalid" }, { 401, 16, "unauthenticated" }
local FORBIDDEN, ABSENT = { 403, 7, "forbidden" }, { 404, 5, "unknown" }
local LARGE, LONG_MESSAGE = { 413, 8, "large" }, { 400, 8, "large" }
local HARMFUL = { 400, 3, "harmful" }
local TYPE = { 415, 12, "encoding" }
local MANY, OFF = { 429, 8, "rate" }, { 503, 14, "busy" }

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
    failure = { kind = { 500, 13, "error" }, text = "the front failed to read the request" }
  end
  local told = handle:streamInfo():dynamicMetadata()
  told:set("countersign", "refused", failure.kind[3])
  told:set("countersign", "why", told_http(failure.text))
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
