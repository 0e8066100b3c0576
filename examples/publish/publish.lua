#!/usr/bin/lua5.3
-- publish.lua NAME MESSAGE (needs lua5.3, lua-redis)
local redis = require 'redis'

local name, message = arg[1], arg[2]
local channel = 'broadcast:' .. name
local url = os.getenv('WSLOOP_REDIS') or 'redis://127.0.0.1:6380'
local host, port = url:match('^redis://([^:/]+):?(%d*)')
local client = redis.connect(host, tonumber(port) or 6379)
print('receivers: ' .. client:publish(channel, message))
client:setex(channel, 3600, message)
