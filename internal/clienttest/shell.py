# Reads one JSON list of words a line, runs it as a command of the client it
# names, and answers with one JSON object a line.
import contextlib
import io
import json
import sys
import traceback


def openstack(args):
    from openstackclient import shell
    return shell.OpenStackShell().run(args)


def swift(args):
    from swiftclient import shell
    sys.argv = ["swift"] + args
    return shell.main()


programs = {"openstack": openstack, "swift": swift}
answers = sys.stdout
for line in sys.stdin:
    name, *args = json.loads(line)
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True), io.StringIO()
    before = sys.stdin
    sys.stdin = io.StringIO("")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = programs[name](args) or 0
            if not isinstance(code, int):  # as sys.exit does
                code = 1
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else (1 if e.code else 0)
        except BaseException:
            traceback.print_exc()
            code = 70
    sys.stdin = before
    text = out.buffer.getvalue().decode("utf-8", "replace")
    answers.write(json.dumps({"Code": code, "Stdout": text, "Stderr": err.getvalue()}) + "\n")
    answers.flush()
