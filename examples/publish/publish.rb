#!/usr/bin/ruby
# publish.rb NAME MESSAGE (needs ruby-redis)
require 'redis'

name, message = ARGV
channel = "broadcast:#{name}"
redis = Redis.new(url: ENV.fetch('WSLOOP_REDIS', 'redis://127.0.0.1:6380'))
receivers, = redis.pipelined do |pipeline|
  pipeline.publish(channel, message)
  pipeline.setex(channel, 3600, message)
end
puts "receivers: #{receivers}"
