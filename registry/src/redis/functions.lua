#!lua name=LIBRARY

-- The functions that Greenroom calls. The library is named after the hash of this file, so pods of different
-- releases call their own functions. A reply begins with OK, FENCED or LOST.

-- The view of a context is one hash: the fence of its owner, the version of its last change, and the values, each
-- in a field that begins with `=`. A view that is claimed in several pieces has no version before the last piece,
-- so it is not read before it is whole.

local function claim(keys, args)
  local key, fence, version, ttl = keys[1], args[1], args[2], args[3]
  local is_first, is_last = args[4] == '1', args[5] == '1'
  local stored = redis.call('HMGET', key, 'fence', 'loading', 'version')
  local owner = tonumber(stored[1] or '0')
  if owner > tonumber(fence) then
    return {'FENCED'}
  end
  local newest = math.max(tonumber(stored[2] or '0'), tonumber(stored[3] or '0'))
  if owner == tonumber(fence) and newest > tonumber(version) then
    -- The network has delivered this claim after a later one of the same owner.
    return {'OK'}
  end
  if is_first then
    redis.call('DEL', key)
    redis.call('HSET', key, 'fence', fence, 'loading', version)
  elseif owner < tonumber(fence) or stored[2] ~= version then
    return {'LOST'}
  end
  for index = 6, #args, 2 do
    redis.call('HSET', key, args[index], args[index + 1])
  end
  if is_last then
    redis.call('HDEL', key, 'loading')
    redis.call('HSET', key, 'version', version)
  end
  redis.call('PEXPIRE', key, ttl)
  return {'OK'}
end

local function apply(keys, args)
  local key, fence, after, ttl, fields_max = keys[1], tonumber(args[1]), tonumber(args[2]), args[3], tonumber(args[4])
  local stored = redis.call('HMGET', key, 'fence', 'version')
  local owner, version = tonumber(stored[1] or '0'), tonumber(stored[2] or '-1')
  if owner > fence then
    return {'FENCED'}
  end
  if owner < fence or version < after then
    return {'LOST'}
  end
  for index = 5, #args, 3 do
    local changed = tonumber(args[index + 1])
    if changed > version then
      redis.call('HSET', key, args[index], args[index + 2], 'version', args[index + 1])
      version = changed
    end
  end
  -- Expired values are removed by a new claim only, because their owner decides which they are.
  if redis.call('HLEN', key) > fields_max then
    redis.call('DEL', key)
    return {'LOST'}
  end
  redis.call('PEXPIRE', key, ttl)
  return {'OK'}
end

local function read(keys, args)
  local key = keys[1]
  local version = redis.call('HGET', key, 'version')
  if not version or tonumber(version) < tonumber(args[1]) then
    return {'LOST'}
  end
  local reply = {'OK', version}
  if #args == 1 then
    local stored = redis.call('HGETALL', key)
    for index = 1, #stored, 2 do
      if string.sub(stored[index], 1, 1) == '=' then
        reply[#reply + 1] = stored[index]
        reply[#reply + 1] = stored[index + 1]
      end
    end
  else
    for index = 2, #args do
      local value = redis.call('HGET', key, args[index])
      if value then
        reply[#reply + 1] = args[index]
        reply[#reply + 1] = value
      end
    end
  end
  return reply
end

local function remove(keys, args)
  if redis.call('HGET', keys[1], 'fence') == args[1] then
    redis.call('DEL', keys[1])
  end
  return {'OK'}
end

-- The requests of one user within the window that ends now: a sorted set for each kind of request, whose scores are
-- the times of the requests in microseconds. A request above the limit is not stored, so a set is bounded by it.

local function count(keys, args)
  local now, window, ttl, kind, limit = tonumber(args[1]), tonumber(args[2]), args[3], tonumber(args[4]), tonumber(args[5])
  local oldest = string.format('%.0f', now - window)
  local counts = {}
  for index, key in ipairs(keys) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', oldest)
    counts[index] = redis.call('ZCARD', key)
  end
  if counts[kind] < limit then
    -- Requests of the same microsecond need different members.
    local suffix = counts[kind]
    while redis.call('ZADD', keys[kind], 'NX', args[1], args[1] .. '-' .. suffix) == 0 do
      suffix = suffix + 1
    end
    redis.call('PEXPIRE', keys[kind], ttl)
  end
  counts[kind] = counts[kind] + 1
  return {'OK', tostring(counts[1]), tostring(counts[2])}
end

redis.register_function('LIBRARY_claim', claim)
redis.register_function('LIBRARY_apply', apply)
redis.register_function{function_name = 'LIBRARY_read', callback = read, flags = {'no-writes'}}
redis.register_function{function_name = 'LIBRARY_remove', callback = remove, flags = {'allow-oom'}}
redis.register_function('LIBRARY_count', count)
