local mode, start, limit, page = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local epoch, stored, bytes = '0', false, 0
if mode ~= 'B' then
  local info = redis.pcall('INFO', 'server')
  epoch = type(info) == 'string' and string.match(info, 'run_id:(%x%x%x%x%x%x%x%x)') or epoch
end
if mode == 'J' then
  stored = redis.pcall('GET', KEYS[2])
  stored = type(stored) == 'string' and #stored <= limit and stored
  bytes = stored and #stored or 0
end
local trimmed = false
if mode == 'J' and start ~= '' and ARGV[5] == '' and last then
  local info, said = redis.pcall('XINFO', 'STREAM', KEYS[1]), {}
  for at = 1, #info, 2 do
    said[info[at]] = info[at + 1]
  end
  trimmed = (said['entries-added'] or 0) > (said['length'] or 0)
end
local out, whole, from, found, count = {}, 'W', start, 0, 4
while start ~= '' and whole == 'W' do
  local some = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', count)
  for _, entry in ipairs(some) do
    local message = entry[2][2]
    if entry[1] == ARGV[5] then
      message = ''
    else
      bytes = bytes + #message + 64
      if bytes > page and (found > 0 or bytes > limit and mode ~= 'B') then
        whole = 'P'
        break
      end
      found = found + 1
      if bytes > limit then
        message, bytes = '', 0
      end
    end
    out[#out + 1] = entry[1] .. ' ' .. #message .. '\n' .. message
  end
  if #some < count then
    break
  end
  local ms, number = string.match(some[count][1], '(%d+)-(%d+)')
  from = ms .. '-' .. string.format('%.0f', number + 1)
  count = math.min(count * 2, 32)
end
local here = last and ('E ' .. last[1]) or ('T ' .. now)
local length = redis.call('XLEN', KEYS[1])
local size = stored and #stored or -1
whole = trimmed and string.lower(whole) or whole
local head = table.concat({ here, whole, length, now, epoch, size }, ' ') .. '\n'
return head .. (stored or '') .. table.concat(out)
