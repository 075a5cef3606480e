# SPDX-License-Identifier: BSL-1.0
"""The goroutines of a stopped program, for gdb: `source runnel.py`, then `runnel`.

Shows the tree of contexts, groups and goroutines of each runtime: where each goroutine was started, what it waits
for, and its frames, the one that waits first. Reads memory alone, so it serves for core dumps, too. The program needs
debug information. A goroutine that runs, or has never waited, is in no tree: `thread apply all backtrace` shows those.
"""
import gdb

NS = "runnel::detail::"
BRANCH = "branch"  # of the root: its goroutines are told as the root's
FORMS = ["scope", "shield", "context", BRANCH, "group", "all or race", "task of async"]
REASONS = ["something", "to receive from", "to send to", "a slot in a group", "a wait_group", "a context to be done",
           "everybody else to wait", "a timer's tick", "a mutex", "a semaphore", "a notification", "an event", "a latch",
           "a barrier", "a once", "a thread to make a blocking call", "a broadcast", "the other half of a oneshot",
           "a watched value to change", "a task of async"]
LEVELS = ["", ", cancelled", ", killed"]


def pointer_to(name):
    return gdb.lookup_type(NS + name).pointer()


def variable(name):
    return gdb.parse_and_eval("'%s%s'" % (NS, name))


def up(value, name):
    """A pointer to a base, as one to the derived class."""
    return value.reinterpret_cast(pointer_to(name)) if offset_of(value, name) == 0 else value.cast(
        gdb.lookup_type("char").pointer()).__sub__(offset_of(value, name)).cast(pointer_to(name))


def offset_of(value, name):
    """Where the pointed-to base lies in the class."""
    wanted = value.type.target().strip_typedefs()

    def look(kind):
        for field in kind.fields():
            if not field.is_base_class:
                continue
            base = field.type.strip_typedefs()
            if base.name == wanted.name:
                return field.bitpos // 8
            inner = look(base)
            if inner is not None:
                return field.bitpos // 8 + inner
        return None

    return look(gdb.lookup_type(NS + name)) or 0


def atomic(value):
    """What is in a std::atomic."""
    for field in ("_M_i", "_M_b"):
        try:
            value = value[field]
        except gdb.error:
            continue
        return atomic(value) if field == "_M_b" else value
    return value["_M_p"]


def items(head):
    """The links of a list_head."""
    ring = head["x_ring"]
    link = ring["next"]
    while int(link) != int(ring.address):
        yield link
        link = link["next"]


def place(where):
    """What a std::source_location says."""
    impl = where["_M_impl"]
    if int(impl) == 0:
        return "an unknown place"
    return "%s:%d" % (impl["_M_file_name"].string(), int(impl["_M_line"]))


def function_of(promise):
    """The coroutine of a frame: the first word of the frame is its resume function."""
    frame = int(promise) - 16
    resume = gdb.Value(frame).cast(gdb.lookup_type("unsigned long").pointer()).dereference()
    try:
        symbol = gdb.block_for_pc(int(resume)).function
        where = gdb.find_pc_line(int(resume))
    except (gdb.error, RuntimeError, AttributeError):
        return "a coroutine at 0x%x" % int(resume)
    name = str(symbol.print_name if symbol else "a coroutine")
    name = name.split("(", 1)[0] if ".Frame" in name else name
    name = "a lambda" if name.startswith("operator") else name
    return "%s at %s:%d" % (name, where.symtab.filename, where.line) if where.symtab else name


def frames_of(goroutine):
    """From the frame that waits to the goroutine's first."""
    promise = goroutine["parent"]
    for _ in range(1000):
        if int(promise) == 0:
            return
        yield function_of(promise)
        link = promise["cont"]
        if int(link) == 0 or (int(link["ops"]) != 0 and bool(link["ops"]["is_root"])):
            return
        promise = link["parent"]


class Runtime:
    def __init__(self, core, show_frames):
        self.core, self.show_frames, self.channels, self.lines = core, show_frames, {}, []
        self.count = 0

    def waits(self, goroutine):
        word = int(atomic(goroutine["word"]))
        if word == 0:
            return "runs, is runnable, or waits for a join"
        if word & 7:
            return "waits for an operation of Asio" if word & 7 == 6 else "waits in a select"
        node = goroutine.cast(pointer_to("fifo_link"))["next"].reinterpret_cast(pointer_to("list_link"))
        if int(node) & 1:
            return "waits for a timer"
        waiter = up(node, "waiter")
        reason = int(waiter["index"])
        if reason in (1, 2):
            return "waits %s %s" % (REASONS[reason], self.channel(word))
        return "waits for " + (REASONS[reason] if reason < len(REASONS) else REASONS[0])

    def channel(self, lock):
        number = self.channels.setdefault(lock, len(self.channels) + 1)
        try:
            nil = int(variable("nil_channel::lock").address)
        except gdb.error:
            nil = 0
        if lock == nil:
            return "the nil channel"
        core = gdb.Value(lock + gdb.lookup_type(NS + "park_lock").sizeof).cast(pointer_to("chan_core"))
        capacity = int(core["x_capacity"])
        state = "%d of %d" % (int(atomic(core["x_count"])), capacity) if capacity else "unbuffered"
        return "channel %d (%s)" % (number, state)

    def goroutine(self, member, indent):
        g = up(member, "goroutine")
        self.count += 1
        self.lines.append("%sgoroutine 0x%x, started at %s: %s" % (indent, int(g), place(g["where"]), self.waits(g)))
        if self.show_frames and int(atomic(g["word"])) != 0:
            self.lines += ["%s  in %s" % (indent, f) for f in frames_of(g)]

    def node(self, node, indent):
        at, before, form = len(self.lines), self.count, FORMS[int(node["x_form"])]
        if form == BRANCH:
            indent = indent[2:]
        for link in items(node["x_members"]):
            member = up(link, "member")
            kind = int(member["kind"])
            if kind == 0:
                self.goroutine(member, indent + "  ")
            elif kind == 1:
                self.node(up(member, "cancel_node"), indent + "  ")
        if self.count > before and form != BRANCH:
            level = int(atomic(node["x_level"]))
            self.lines.insert(at, indent + form + LEVELS[level])


class ShowGoroutines(gdb.Command):
    """Show the goroutines of every runtime; "runnel short": without their frames."""

    def __init__(self):
        super().__init__("runnel", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        try:
            runtimes = variable("the_runtimes")["runtimes"]
        except gdb.error as error:
            raise gdb.GdbError("no runnel in this program, or no debug information: %s" % error)
        found = False
        for link in items(runtimes):
            found = True
            runtime = Runtime(up(link, "runtime_core::entry")["runtime"].referenced_value(), argument != "short")
            root = runtime.core["root"].referenced_value().address
            runtime.node(root.cast(pointer_to("cancel_node")), "")
            print("runtime 0x%x: %d goroutines that have waited" % (int(runtime.core.address), runtime.count))
            print("\n".join(runtime.lines))
        if not found:
            print("no runtime")


ShowGoroutines()
