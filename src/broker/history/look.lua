local mode, start, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local epoch, stored, bytes = '0', false, 0
if mode == 'J' then
  local info = redis.pcall('INFO', 'server')
  epoch = type(info) == 'string' and string.match(info, 'run_id:(%x%x%x%x%x%x%x%x)') or epoch
  stored = redis.pcall('GET', KEYS[2])
  stored = type(stored) == 'string' and #stored <= limit and stored
  bytes = stored and #stored or 0
end
local out, whole, from = {}, 'W', mode == 'J' and '+' or start
while start ~= '' and whole == 'W' do
  local some
  if mode == 'J' then
    some = redis.call('XREVRANGE', KEYS[1], from, start, 'COUNT', 32)
  else
    some = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 32)
  end
  for _, entry in ipairs(some) do
    local message = entry[2][2]
    bytes = bytes + #message + 64
    if bytes > limit and (mode == 'J' or #out > 0) then
      whole = 'P'
      break
    end
    if bytes > limit then
      message, bytes = '', 0
    end
    out[#out + 1] = entry[1] .. ' ' .. #message .. '\n' .. message
  end
  if #some < 32 then
    break
  end
  local ms, number = string.match(some[32][1], '(%d+)-(%d+)')
  if mode ~= 'J' then
    from = ms .. '-' .. string.format('%.0f', number + 1)
  elseif number == '0' then
    from = string.format('%.0f', ms - 1) .. '-18446744073709551615'
  else
    from = ms .. '-' .. string.format('%.0f', number - 1)
  end
end
local here = last and ('E ' .. last[1]) or ('T ' .. now)
local length = redis.call('XLEN', KEYS[1])
local size = stored and #stored or -1
local head = table.concat({ here, whole, length, now, epoch, size }, ' ') .. '\n'
return head .. (stored or '') .. table.concat(out)
