#!/usr/bin/lua5.3
-- publish.lua NAME MESSAGE (needs lua5.3, lua-redis)
local redis = require 'redis'

local name, message = arg[1], arg[2]
local channel = 'broadcast:' .. name
local url = os.getenv('WSLOOP_REDIS') or 'redis://127.0.0.1:6380'
local authority, db = url:match('^redis://([^/]+)/?(%d*)$')
assert(authority, 'WSLOOP_REDIS is no redis://[user:password@]host[:port][/db]')
local user, password, place = authority:match('^([^:]*):(.*)@(.*)$')
local host, port = (place or authority):match('^%[?(.-)%]?:?(%d*)$')
local client = redis.connect { host = host, port = tonumber(port) or 6379, timeout = 5 }
local function decoded(text)
  return (text:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end
if user and user ~= '' then
  client:auth(decoded(user), decoded(password))
elseif user then
  client:auth(decoded(password))
end
if db ~= '' then client:select(db) end
print('receivers: ' .. client:publish(channel, message))
client:setex(channel, 3600, message)
