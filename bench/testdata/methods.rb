# methods.rb WHAT TURNS [TRACE]: does so many turns of a call and prints the
# nanoseconds that they took. TRACE turns on a TracePoint first: one that does
# nothing, or one that looks each call up in a list as vivarium does.
what, turns, trace = ARGV[0], ARGV[1].to_i, ARGV[2]

class Unlisted
  def call = 1
end

LIST = { "Socket" => nil, "Net::HTTP" => nil, "File" => %i[open new write], "Kernel" => %i[system require] }
case trace
when "nothing"
  TracePoint.new(:call, :return, :c_call, :c_return) {}.enable
when "list"
  TracePoint.new(:call, :return, :c_call, :c_return) do |t|
    c = t.defined_class
    name = c.singleton_class? ? t.self.to_s : c.name
    methods = LIST.fetch(name) { next }
    methods.nil? || methods.include?(t.method_id)
  end.enable
end

sleep 0.3 # until viv-probe has attached
x = Unlisted.new
text = "text"
i = 0
start = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
case what
when "empty" then i += 1 while i < turns
when "ruby" then (x.call; i += 1) while i < turns
when "c" then (text.hash; i += 1) while i < turns
when "listed-c" then (Process.pid; i += 1) while i < turns
when "listed" then (ENV["HOME"]; i += 1) while i < turns
end
puts Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond) - start
