-- Whose request this is, by its key, before its body is read. Envoy runs one thread, so that what
-- is remembered here is there once. `server/door.py` answers what is not known.

local known_keys = {} -- the sent text -> what server/keys.py said of it, for KEY_S
local known_count = 0
local KEY_S = 5 -- how soon a key that was taken back is refused
local KEYS_MAX = 1000
local buckets = {} -- a key's name -> how many requests it has left, and when that was

-- what the key of a request may do: {name, may, cluster}. Refuses others.
local function bearer(handle, headers)
  local sent = headers:get("authorization")
  if not sent then
    refuse(DENIED, "authorization: missing, expected Bearer and a key")
  end
  if #sent > 256 then
    refuse(DENIED, "authorization: %d characters, expected Bearer and a key", #sent)
  end
  local key = known_keys[sent]
  if key and key.until_s > os.time() then
    return key
  end
  local told = handle:httpCall("keys",
    { [":method"] = "GET", [":path"] = "/", [":authority"] = "keys", ["authorization"] = sent },
    nil, 10000)
  local status = told[":status"]
  if status == "429" then
    refuse(MANY, "authorization: too many unknown keys")
  elseif status == "401" then
    refuse(DENIED, "authorization: unknown key")
  elseif status ~= "200" then
    refuse(OFF, "keys cannot be looked up")
  end
  if known_count >= KEYS_MAX then
    known_keys, known_count = {}, 0
  end
  key = {
    name = told["x-name"], may = told["x-may"], bounded = told["x-at-once"] ~= nil,
    per_minute = tonumber(told["x-per-minute"]), until_s = os.time() + KEY_S,
  }
  known_keys[sent] = key
  known_count = known_count + 1
  return key
end

---------------------------------------------------------------------------------------------------

-- takes one of the requests that a key may send in a minute; they come back one by one
local function spend(key, milliseconds)
  local most = key.per_minute
  local bucket = buckets[key.name]
  if not bucket then
    bucket = { left = most, at = milliseconds }
    buckets[key.name] = bucket
  end
  local back = (milliseconds - bucket.at) / 60000 * most
  bucket.left, bucket.at = math.min(most, bucket.left + back), milliseconds
  if bucket.left < 1 then
    local wait_ms = math.ceil((1 - bucket.left) / most * 60000)
    error({ kind = MANY, wait_ms = wait_ms,
      text = string.format("key %s: limit %d requests a minute", key.name, most) }, 0)
  end
  bucket.left = bucket.left - 1
end

function envoy_on_request(handle)
  local ok, failure = pcall(function()
    local kind = handle:metadata():get("kind")
    if kind == nil or kind:find("health$") then
      return
    end
    local key = bearer(handle, handle:headers())
    if key.per_minute and handle:metadata():get("infers") then
      spend(key, handle:timestamp())
    end
    local told = handle:streamInfo():dynamicMetadata()
    told:set("countersign", "key", key.name)
    told:set("countersign", "may", key.may)
    told:set("countersign", "bounded", key.bounded)
  end)
  if not ok then
    respond(handle, failure)
  end
end
