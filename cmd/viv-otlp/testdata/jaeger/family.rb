# Methods, a thread, and children of children.
require "socket"

def marked(name, file = __FILE__, line = caller_locations(1, 1)[0].lineno)
  File.exist?("viv://start/#{name}?file=#{file}&line=#{line}")
  yield
ensure
  File.exist?("viv://stop/#{name}")
end

def work
  marked("Family#work") do
    File.read("/etc/hostname")
    marked("Family#inner") do
      system("cat /etc/hostname; (ls /nonexistent; true)", out: File::NULL, err: File::NULL)
    end
  end
end

work
Thread.new { marked("Family#thread") { File.read("/etc/os-release") } }.join
begin
  marked("Family#connect") do
    TCPSocket.new("127.0.0.1", 1)
  rescue Errno::ECONNREFUSED => e
    File.exist?("viv://raise/#{e.class}?message=#{e.message.tr('%&', '  ')}")
    raise
  end
rescue Errno::ECONNREFUSED
end
pid = fork do
  File.read("/etc/passwd")
  exec "true"
end
Process.wait pid
