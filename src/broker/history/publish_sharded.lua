local kept = redis.pcall('XADD', KEYS[1], 'MAXLEN', '=', ARGV[3], '*', 'message', ARGV[2])
local heard = redis.call('SPUBLISH', ARGV[1], ARGV[2])
if type(kept) == 'table' then
  return redis.error_reply('UNKEPT ' .. kept.err)
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return heard
