local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local here = last and ('E ' .. last[1]) or ('T ' .. string.format('%.0f', now))
local kind, place, start, most, ms, limit = unpack(ARGV)
local whole
if kind == 'E' then
  whole = #redis.call('XRANGE', KEYS[1], place, place) > 0
elseif kind == 'T' then
  whole = now - place < tonumber(ms) and redis.call('XLEN', KEYS[1]) < tonumber(most)
  local info, said = redis.pcall('XINFO', 'STREAM', KEYS[1]), {}
  for at = 1, #info, 2 do
    said[info[at]] = info[at + 1]
  end
  whole = whole and (said['entries-added'] or 0) <= (said['length'] or 0)
end
local out, bytes = {}, 0
while whole do
  local some = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', 32)
  for _, entry in ipairs(some) do
    local message = entry[2][2]
    bytes = bytes + #message + 64
    whole = whole and bytes <= tonumber(limit)
    out[#out + 1] = entry[1] .. ' ' .. #message .. '\n' .. message
  end
  if #some < 32 then
    break
  end
  local before, number = string.match(some[32][1], '(%d+)-(%d+)')
  start = before .. '-' .. string.format('%.0f', number + 1)
end
if not whole then
  return 'G ' .. here .. '\n'
end
return 'W ' .. here .. '\n' .. table.concat(out)
