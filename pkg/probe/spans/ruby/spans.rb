# frozen_string_literal: true

# Marks the calls of listed methods as spans for viv-probe, which puts this file
# in front of a Ruby program (--spans ruby). A marker is a question for a path
# that begins with viv:// (docs/markers.md).
#
# Only the listed methods are touched, so that all others run at their own
# speed. One that is written in Ruby gets a TracePoint of its own; one that is
# written in C is wrapped. What depends on its caller's variables cannot be
# wrapped (Kernel#eval, instance_eval).
#
# Spans are of threads, and a fiber's are open only while it runs: a switch to
# another one stops them and starts the other's.
module VivSpans
  # File.exist? as it is now. Not a Method, which only the main Ractor may use.
  class Mark < ::File
    class << self
      alias put exist?
    end
  end
  TO_S = ::Exception.instance_method(:to_s)
  UNSAFE = /[%?&]/n
  # What depends on its caller, and what marking itself calls.
  NOT_WRAPPED = %w[
    Kernel#eval Object#instance_eval BasicObject#instance_eval Module#module_eval Module#class_eval
    Kernel#binding Kernel#local_variables Kernel#block_given? Kernel#iterator? Kernel#__method__ Kernel#__callee__ Kernel#__dir__
    Kernel#caller Kernel#caller_locations Kernel#lambda Kernel#proc Kernel#set_trace_func Kernel#class Kernel#respond_to? Kernel#respond_to_missing?
    Module#nesting Module#public Module#private Module#protected Module#module_function Module#ruby2_keywords Module#using Module#refine
    Module#=== Module#name UnboundMethod#bind_call Integer#+ Integer#- Integer#to_s String#to_s String#b String#match? String#gsub String#[]
    Symbol#== Thread#current Thread#[] Thread#[]= Thread#thread_variable_get Thread#thread_variable_set
    Array#push Array#pop Array#size Array#rindex Array#first Array#[] Array#find Array#each
    Hash#[] Hash#fetch Enumerable#find Enumerable#first Enumerable#each TracePoint#self TracePoint#callee_id TracePoint#event
    Thread::Backtrace::Location#path Thread::Backtrace::Location#lineno
  ].freeze
  FORKS = %w[Process#fork Process#_fork Process#daemon].freeze
  PREPEND = ::Module.instance_method(:prepend_features)
  NAMED_AT_ONCE = ::Module.private_method_defined?(:const_added) # Ruby 3.2
  SAME_ISEQ = defined?(::RubyVM::InstructionSequence) && begin
    m = ::Module.new { def m; end }.instance_method(:m)
    ::RubyVM::InstructionSequence.of(m).equal?(::RubyVM::InstructionSequence.of(m))
  end # Ruby 3.0
  RECORDS = [::Struct, *(::Data if NAMED_AT_ONCE)].freeze # their members are methods
  NAMELESS_CALLS = 1_000
  NAMELESS_METHODS = 100

  # What Ruby calls when something is defined, in front of all modules.
  module Hooks
    private

    def method_added(name)
      return if ::Thread.current[:viv_muted]

      super
      ::VivSpans.added(self, name, false)
    end

    def singleton_method_added(name)
      super
      ::VivSpans.added(self, name, true)
    end

    def append_features(mod)
      super.tap { ::VivSpans.mixed(mod) }
    end

    def prepend_features(mod)
      super.tap { ::VivSpans.mixed(mod) }
    end

    def extend_object(object)
      super.tap { ::VivSpans.mixed(object) }
    end

    if NAMED_AT_ONCE
      def const_added(name)
        super
        ::VivSpans.constant(self, name)
      end
    end
  end

  # A method written in Ruby, of which the calls under some names and of some
  # classes are spans.
  class Target
    attr_reader :key
    attr_writer :nameless

    def initialize(key, iseq, method)
      @key = key
      @iseq = iseq # so that its id is of no other
      @nameless = false
      @spans = {}.freeze # replaced, not changed: another Ractor may look into it
      is_a = ::Module.instance_method(:===)
      @trace = ::TracePoint.new(:call, :return) do |tp|
        ::VivSpans.look_for_names if @nameless && ::VivSpans.main?
        span = @spans[tp.callee_id]&.find { |of, _| is_a.bind_call(of, tp.self) } or next
        tp.event == :call ? ::VivSpans.start(span[1], 3) : ::VivSpans.stop(span[1])
      end
      @trace.enable(target: method)
    end

    def add(of, name, span)
      list = @spans[name] || []
      @spans = @spans.merge(name => [*list, [of, span]].freeze).freeze unless list.any? { |o, _| o.equal?(of) }
    end

    # It reports whether nothing is left.
    def remove(of, name)
      @spans = @spans.merge(name => (@spans[name] || []).reject { |o, _| o.equal?(of) }.freeze).freeze
      unused
    end

    def unused
      @nameless = false
      return false unless @spans.values.all?(&:empty?)

      @trace.disable
      true
    end
  end

  private_constant :Mark, :TO_S, :UNSAFE, :NOT_WRAPPED, :FORKS, :PREPEND, :NAMED_AT_ONCE, :SAME_ISEQ,
                   :RECORDS, :NAMELESS_CALLS, :NAMELESS_METHODS, :Target, :Hooks

  @hooked = false
  @failed = false
  @list = {}       # by class: names of methods
  @pending = nil   # of it: those that were not there at the start
  @unreported = {} # by class and name: places in the list
  @scopes = {}.compare_by_identity    # listed classes by now, and what they are called
  @users = {}.compare_by_identity     # by module: the listed classes that have its methods
  @targets = {}
  @resolved = {}.compare_by_identity  # by class and name: what a call runs
  @wrappers = {}.compare_by_identity
  @wrapped = {}
  @nameless = nil # classes that may get a name, with how often they are asked yet
  @asked = ::ObjectSpace::WeakMap.new
  @calls_left = 100_000

  class << self
    def escape(text)
      text = text.to_s.b
      text.match?(UNSAFE) ? text.gsub(UNSAFE) { |c| format("%%%02X", c.ord) } : text
    end

    # name is escaped already; the place is depth frames up.
    def start(name, depth)
      at = caller_locations(depth, 1)&.first
      place = "?file=#{escape(at.path)}&line=#{at.lineno}" if at
      marker = "viv://start/#{name}#{place}"
      (Thread.current[:viv_spans] || new_fiber).push(name, marker)
      Mark.put(marker)
    end

    def stop(name)
      open = Thread.current[:viv_spans]
      at = open&.rindex(name) or return # it was called before we came
      open.pop(open.size - at)
      Mark.put("viv://stop/#{name}")
    end

    # In the child, which is another process, nothing has started.
    def forked
      Thread.current[:viv_spans]&.clear
    end

    def raised(tp)
      return if ::Thread.current[:viv_muted]

      e = tp.raised_exception
      message = TO_S.bind_call(e).to_s.b[0, 512]
      Mark.put("viv://raise/#{escape(e.class.name || "Exception")}?message=#{escape(message)}&file=#{escape(tp.path)}&line=#{tp.lineno}")
    rescue ::Exception # a message of the program's own making
      nil
    end

    # report: the list is the user's, who is told which of it were never defined.
    def install(list, report: false)
      list.each_with_index do |entry, i|
        label, name = entry.split("#", 2)
        label = "Object" if label == "BasicObject" # the list has both, and the name is vivarium's
        (@list[label] ||= []) << name
        (@unreported[[label, name]] ||= []) << i + 1 if report
      end
      @nameless = {}.compare_by_identity if report && !NAMED_AT_ONCE
      Mark.put("viv://found") # this Ruby has the list
      look
      @pending = @list.reject { |label, _| label == "ENV" || find(label) }
      watch_require unless @pending.empty?
      PREPEND.bind_call(Hooks, ::Module)
      @hooked = true
      # A program's own method_added may leave that of Hooks out.
      TracePoint.new(:class, :end) { |tp| named(tp.self) }.enable
      TracePoint.new(:raise) { |tp| raised(tp) }.enable
      TracePoint.new(:fiber_switch) { switched }.enable
    end

    # Only the main Ractor may change classes.
    def main?
      !defined?(::Ractor) || ::Ractor.current.equal?(::Ractor.main)
    end

    # A method was defined. One that is written in C waits for the end of the
    # require that brings it: more may be done with it until then.
    def added(mod, name, singleton)
      return unless main?

      label = ask(mod, :name)
      return nameless(mod, name, singleton) if label.nil? || label.start_with?("#<")

      if @list[label] && listed?(label, name)
        side = singleton ? singleton_of(mod) : mod
        hook(mod)
        take(mod, side, sources(mod, side), label, name, false)
      end
      @users[mod]&.each_key&.to_a&.each { |user| scan(user, @scopes[user], false) } unless singleton
    rescue ::StandardError => e
      failed(e)
    end

    # A class or module has taken methods of another one, or got its name.
    def named(mod)
      return unless main? && ::Module === mod

      label = ask(mod, :name)
      if label.nil? || label.start_with?("#<")
        @users[mod]&.each_key&.to_a&.each { |user| scan(user, @scopes[user], false) }
      elsif @list[label]
        scan(mod, label, false)
      end
    rescue ::StandardError => e
      failed(e)
    end

    def mixed(mod)
      return unless main? && ::Module === mod

      ask(mod, :name) ? named(mod) : nameless(mod, nil, false)
      @users[mod]&.each_key&.to_a&.each { |user| scan(user, @scopes[user], false) }
    rescue ::StandardError => e
      failed(e)
    end

    # Ruby 3.2 and later: a constant was set.
    def constant(mod, name)
      return unless main?

      label = ::Object.equal?(mod) ? name.to_s : "#{ask(mod, :name)}::#{name}"
      named(ask(mod, :const_get, name, false)) if @list[label] && !ask(mod, :autoload?, name, false)
    rescue ::StandardError => e
      failed(e)
    end

    # A class that got its name with no hook of Ruby's: until it has it, or for
    # so many calls of methods written in C, each of these is asked.
    def look_for_names
      @nameless.to_a.each do |mod, state|
        label = ask(mod, :name)
        known = label && !label.start_with?("#<")
        scan(mod, label, false) if known && @list[label]
        @calls_left -= 1
        next unless known || (state[0] -= 1) <= 0

        state[1].each { |target| @targets.delete(target.key) if target.unused }
        @nameless.delete(mod)
      end
      @window.disable if @nameless.empty? && @window&.enabled?
    rescue ::StandardError => e
      failed(e)
    end

    # Classes that are written in C come with require: those that are here by now.
    def look
      return unless main?

      (@pending || @list).each do |label, names|
        if label == "ENV"
          names.each { |n| take(nil, ::ENV.singleton_class, [], label, n.to_sym, true) }
        elsif (scope = find(label))
          scan(scope, label, true)
        end
      end
    rescue ::StandardError => e
      failed(e)
    end

    private

    # The program runs on.
    def failed(e)
      warn "viv-probe: some methods of this Ruby are not marked: #{e.message}" unless @failed
      @failed = true
    end

    # What is open in this fiber: name and marker of each span. The thread
    # remembers which fiber's it was.
    def new_fiber
      open = []
      Thread.current.thread_variable_set(:viv_spans, open)
      Thread.current[:viv_spans] = open
    end

    def switched
      left = Thread.current.thread_variable_get(:viv_spans)
      open = Thread.current[:viv_spans]
      return if open.equal?(left)

      Thread.current.thread_variable_set(:viv_spans, open)
      left&.reverse_each&.with_index { |name, i| Mark.put("viv://stop/#{name}") if i.odd? }
      open&.each_with_index { |marker, i| Mark.put(marker) if i.odd? }
    end

    def ask(mod, what, *args)
      (::Class === mod ? ::Class : ::Module).instance_method(what).bind_call(mod, *args)
    end

    def singleton_of(mod)
      ::Kernel.instance_method(:singleton_class).bind_call(mod)
    end

    def find(path)
      return unless path.match?(/\A[[:upper:]]\w*(?:::[[:upper:]]\w*)*\z/)

      path.split("::").inject(::Object) do |scope, name|
        return unless ::Module === scope && ask(scope, :const_defined?, name, false) && !ask(scope, :autoload?, name, false)

        ask(scope, :const_get, name, false)
      end.then { |scope| scope if ::Module === scope }
    end

    def listed?(label, name)
      @list[label].include?("*") || @list[label].include?(name.to_s)
    end

    # Makes sure that we are told of the class's methods, whatever it does itself
    # when one is added.
    def hook(scope)
      side = singleton_of(scope)
      return if side.frozen? || %i[method_added singleton_method_added].all? { |m| ask(side, :instance_method, m).owner.equal?(Hooks) }

      PREPEND.bind_call(Hooks, side)
    end

    # The modules whose methods are the class's, or its singleton class's.
    def sources(scope, side)
      return [] if [::Object, ::BasicObject, ::Kernel].include?(scope)

      up = ask(scope, :superclass) if ::Class === scope
      above =
        if side.equal?(scope)
          up ? ask(up, :ancestors) + ::Object.ancestors : ::Object.ancestors
        else
          ask(up ? singleton_of(up) : scope.class, :ancestors) + ::Class.ancestors
        end
      ask(side, :ancestors) - above - [side, Hooks] - @wrappers.keys
    end

    def scan(scope, label, native)
      @scopes[scope] = label
      hook(scope) if @hooked
      names = @list[label]
      names.each { |n| take(::BasicObject, ::BasicObject, [], label, n.to_sym, native) } if scope.equal?(::Object)
      [scope, singleton_of(scope)].each do |side|
        from = sources(scope, side)
        from.each { |m| (@users[m] ||= {}.compare_by_identity)[scope] = true }
        if names.include?("*")
          [side, *from].flat_map { |m| ask(m, :instance_methods, false) + ask(m, :private_instance_methods, false) }
            .uniq.each { |n| take(scope, side, from, label, n, native) unless n.start_with?("viv ") }
        end
        names.each { |n| take(scope, side, from, label, n.to_sym, native) unless n == "*" }
      end
    end

    # Marks what a call of the method runs. native: also if it is written in C.
    def take(scope, side, from, label, name, native)
      full = "#{label}##{name}"
      return if NOT_WRAPPED.include?(full) || !defined_in?(side, name)

      method = ask(side, :instance_method, name)
      owner = method.owner
      return if @wrappers[owner]
      # File.open is IO's; but what everything has is not the class's.
      return unless owner.equal?(side) || from.any? { |m| m.equal?(owner) } ||
                    side.singleton_class? && owner.singleton_class?

      marked = trace(method, side, name, full) ||
               written_again(method, side, name) && trace(ask(side, :instance_method, name), side, name, full) ||
               native && wrap(side, method, name, full)
      report(label, name) if marked
    end

    # Asked first, because an error of ours would be recorded as one of the program's.
    def defined_in?(side, name)
      ask(side, :method_defined?, name) || ask(side, :private_method_defined?, name)
    end

    def report(label, name)
      [name.to_s, "*"].each { |n| @unreported.delete([label, n])&.each { |i| Mark.put("viv://found/#{i}") } }
    end

    # A class without a name may get one that is listed.
    def nameless(mod, name, singleton)
      return if @nameless.nil? || @calls_left <= 0 || mod.singleton_class? || defined?(::RubyVM::YJIT) && ::RubyVM::YJIT.enabled?

      return if !@nameless[mod] && (@asked[mod] || @list.keys.all? { |l| l == "ENV" || find(l) })

      @asked[mod] = true
      state = @nameless[mod] ||= [NAMELESS_CALLS, []]
      @window ||= TracePoint.new(:c_call) { look_for_names }
      @window.enable unless @window.enabled?
      return if name.nil? || state[1].size >= NAMELESS_METHODS

      # The first call may be of a method written in Ruby.
      side = singleton ? singleton_of(mod) : mod
      target = defined_in?(side, name) && target(ask(side, :instance_method, name)) or return
      target.nameless = true
      state[1] << target
    end

    # Classes that come later and are written in C come with require.
    def watch_require
      require = ::Kernel.instance_method(:require)
      if require.source_location
        TracePoint.new(:return) { look }.enable(target: require)
      else
        wrapper = ::Module.new do
          def require(name)
            super.tap { ::VivSpans.look }
          end
          private :require
        end
        PREPEND.bind_call(wrapper, ::Kernel)
      end
    end

    # What marks the method's calls; nil: it has no instructions.
    def target(method)
      iseq = ::RubyVM::InstructionSequence.of(method) or return
      key =
        if SAME_ISEQ && !iseq.label.start_with?("block ")
          [iseq.object_id]
        else # what is made of a block has its hooks itself
          [SAME_ISEQ && iseq.object_id, method.owner, method.original_name, method.source_location]
        end
      @targets[key] ||= begin
        ::Thread.current[:viv_muted] = true
        Target.new(key, iseq, method)
      end
    rescue ::ArgumentError # not of instructions that can be traced
      nil
    ensure
      ::Thread.current[:viv_muted] = nil
    end

    def trace(method, side, name, full)
      target = target(method) or return
      # Another method took its place, which it may call.
      before = (@resolved[side] ||= {})[name]
      @targets.delete(before.key) if before && !before.equal?(target) && before.remove(side, name)
      @resolved[side][name] = target
      target.add(side, name, escape(full))
      true
    end

    # An accessor, which has no instructions, becomes a method that calls it, in its
    # place, so that all that can be done with it can still be done.
    def written_again(method, side, name)
      owner = method.owner
      accessor = method.source_location ||
                 (RECORDS.any? { |c| ::Class === owner && owner < c } && name != :initialize) ||
                 method.arity < -1 # a Symbol's block
      return unless accessor && @hooked && owner.equal?(side) && !owner.frozen?
      return unless method.arity < -1 || method.arity.between?(0, 1)
      return unless name.match?(/\A[[:alpha:]_][[:alnum:]_]*[=?!]?\z/)

      hook(owner)
      visibility = %i[private protected].find { |v| ask(owner, :"#{v}_method_defined?", name) }
      parameters = { 0 => "", 1 => "value" }.fetch(method.arity, "*rest, &block")
      verbose, $VERBOSE = $VERBOSE, nil
      ::Thread.current[:viv_muted] = true
      ask(owner, :alias_method, :"viv #{name}", name)
      ask(owner, :private, :"viv #{name}")
      text = "def #{name}(#{parameters}); __send__(:\"viv #{name}\", #{parameters}); end"
      ask(owner, :module_eval, text, *(method.source_location || [__FILE__, __LINE__]))
      ask(owner, visibility, name) if visibility
      true
    ensure
      $VERBOSE = verbose if defined?(verbose) && parameters
      ::Thread.current[:viv_muted] = nil
    end

    def wrap(owner, method, name, full)
      return if @wrapped[[owner, name]] || owner.frozen?
      return unless name.match?(/\A[a-z_]\w*[?!=]?\z/i) || %i[[] []=].include?(name)

      marker = escape(full)
      call = "super"
      before = after = nil
      if full == "Kernel#require_relative"
        # A relative name is relative to the caller, which the wrapper is not.
        before = "at = ::Kernel.caller_locations(1, 1)&.first&.absolute_path\n" \
                 "a[0] = ::File.expand_path(a[0].respond_to?(:to_path) ? a[0].to_path : a[0], ::File.dirname(at)) if at"
        call = "super(*a, &b)"
      elsif FORKS.include?(full)
        before = "pid = $$"
        after = "::VivSpans.forked if pid != $$"
      end
      wrapper = ::Module.new
      wrapper.module_eval(<<~RUBY, __FILE__, __LINE__)
        ruby2_keywords def #{name}(*a, &b)
          ::VivSpans.start(#{marker.dump}, 2)
          #{before}
          begin
            #{call}
          ensure
            #{after}
            ::VivSpans.stop(#{marker.dump})
          end
        end
      RUBY
      wrapper.send(:private, name) if method.owner.private_method_defined?(name)
      wrapper.send(:protected, name) if method.owner.protected_method_defined?(name)
      @wrappers[wrapper] = @wrapped[[owner, name]] = true
      PREPEND.bind_call(wrapper, owner)
      true
    end
  end
end
