"""Debian's Chromium without a window, driven by its own DevTools protocol: pages are opened, looked at, clicked and typed into as people do it."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--remote-debugging-port=0", "--no-first-run", "--no-default-browser-check", "--disable-gpu", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync", "--mute-audio",
         # Nothing on these pages may come from elsewhere, and CI's proxy must not be asked for 127.0.0.1.
         "--no-proxy-server")
# key -> (code, number of the key, text that it types)
KEYS = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), " ": ("Space", 32, " "), "Escape": ("Escape", 27, ""),
        "ArrowDown": ("ArrowDown", 40, ""), "ArrowUp": ("ArrowUp", 38, ""), "Home": ("Home", 36, ""), "End": ("End", 35, "")}
SHIFT, CONTROL = 8, 2
PATIENCE = 20.0


class BrowserError(AssertionError):
    """Chromium did not do what it was told, or what was waited for did not come."""


class Chromium:
    """A context manager: one process for many pages, each of which has cookies and storage of its own."""

    def __init__(self):
        command = next(filter(None, map(shutil.which, NAMES)), None)
        if command is None:
            raise BrowserError("There is no Chromium: apt-get install chromium (Debian; Ubuntu's is a snap, there install a .deb of Chrome).")
        self._place = tempfile.mkdtemp(prefix="tfleet-chromium-")
        flags = [*FLAGS, "--user-data-dir=" + self._place]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # which root has not
        self._process = subprocess.Popen([command, *flags, "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            self._socket = websocket.create_connection(self._address(), timeout=PATIENCE, suppress_origin=True, http_proxy_host=None)
        except BaseException:
            self.close()
            raise
        self._number = 0
        self._pages = {}

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        """Ends the process and removes what it wrote."""
        if hasattr(self, "_socket"):
            self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stderr.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def page(self, width=1280, height=900, dark=False, script=True):
        """A new empty Page. `script` is whether it may run any."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context, width=width, height=height)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        page.begin(width, height, dark, script)
        return page

    def call(self, method, session=None, **parameters):
        """Sends a command and returns its result; what the pages tell meanwhile is noted."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._socket.send(json.dumps(message))
        while True:
            answer = self._receive(PATIENCE, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError("%s: %s" % (method, answer["error"]["message"]))
                return answer["result"]

    def forget(self, session, context):
        """Closes a page with everything that it kept."""
        self._pages.pop(session, None)
        self.call("Target.disposeBrowserContext", browserContextId=context)

    def _receive(self, seconds, what):
        self._socket.settimeout(seconds)
        try:
            answer = json.loads(self._socket.recv())
        except websocket.WebSocketTimeoutException:
            raise BrowserError("Chromium has not answered %s for %g s." % (what, seconds))
        page = self._pages.get(answer.get("sessionId"))
        if page is not None and "method" in answer:
            page.told(answer["method"], answer["params"])
        return answer

    def _address(self):
        path = pathlib.Path(self._place, "DevToolsActivePort")
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) == 2:
                return "ws://127.0.0.1:%s%s" % tuple(lines)
            time.sleep(0.05)
        self._process.kill()
        raise BrowserError("Chromium did not start: " + self._process.stderr.read().decode(errors="replace")[-2000:])


class Page:
    """One page. `errors` are what its console would show in red, also resources that did not load; `requests` are the URLs that it asked for."""

    def __init__(self, browser, session, context):
        self._browser, self._session, self._context = browser, session, context
        self.errors = []
        self.requests = []

    def call(self, method, **parameters):
        """A command of the protocol for this page."""
        return self._browser.call(method, self._session, **parameters)

    def begin(self, width, height, dark, script):
        """Called by Chromium.page."""
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(domain + ".enable")
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.show(width, height, dark)

    def close(self):
        """Closes the page."""
        self._browser.forget(self._session, self._context)

    def told(self, event, what):
        """Notes an event."""
        if event == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in what["args"]))
        elif event == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
            self.errors.append("%s %s" % (what["entry"]["text"], what["entry"].get("url", "")))
        elif event == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])

    def show(self, width, height=900, dark=False, media="", reduced_motion=False):
        """Gives the page another size, the dark or light scheme, and the medium: media="print"."""
        self._width = width
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": "reduce" if reduced_motion else "no-preference"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, url):
        """Opens a URL (or a pathlib.Path, as file://) and waits until it is loaded."""
        if isinstance(url, pathlib.Path):
            url = url.resolve().as_uri()
        failed = self.call("Page.navigate", url=url).get("errorText")
        if failed:
            raise BrowserError("%s: %s" % (url, failed))
        self.loaded()

    def loaded(self):
        """Waits until the document is complete."""
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression):
        """What a JavaScript expression gives, as a Python value; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, allowUnsafeEvalBlockedByCSP=True)
        if "exceptionDetails" in answer:
            raise BrowserError("%s: %s" % (expression, answer["exceptionDetails"].get("exception", {}).get("description")))
        return answer["result"].get("value")

    def wait(self, expression, seconds=PATIENCE):
        """Waits until an expression gives something true, and returns that."""
        until = time.monotonic() + seconds
        while True:
            try:
                found = self.value(expression)
            except BrowserError:  # of a page that makes way for the next one
                found = None
            if found not in (None, False, 0, ""):  # an element comes as {}
                return found
            if time.monotonic() > until:
                raise BrowserError("This did not come true within %g s: %s. The page shows:\n%s" % (seconds, expression, self.text()))
            time.sleep(0.03)

    def text(self, selector="body"):
        """The text that is visible in an element; None if there is none."""
        return self.value("document.querySelector(%s)?.innerText" % json.dumps(selector))

    def click(self, selector):
        """Moves the mouse to the middle of an element and clicks."""
        where = self.value("(() => { const one = document.querySelector(%s); one.scrollIntoView({block: 'center', behavior: 'instant'});"
                           " const box = one.getBoundingClientRect();"
                           " return [box.left + box.width / 2, box.top + box.height / 2] })()" % json.dumps(selector))
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    def press(self, key, modifiers=0):
        """Presses a key of KEYS, or a letter; modifiers: SHIFT, CONTROL."""
        code, number, text = KEYS.get(key) or ("Key" + key.upper(), ord(key.upper()), key)
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        """Writes into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def choose_file(self, selector, path):
        """Chooses a file in an <input type=file>, as its dialogue would."""
        node = self.call("DOM.querySelector", nodeId=self.call("DOM.getDocument")["root"]["nodeId"], selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def focused(self):
        """The id, or else the tag, of the element that has the focus."""
        return self.value("document.activeElement.id || document.activeElement.tagName.toLowerCase()")

    def overflow(self):
        """By how many pixels the page is wider than the window; a phone shows a page that names no viewport as one of 980."""
        return max(0, self.value("document.documentElement.scrollWidth") - self._width)

    def names(self, *roles):
        """[(role, name)] of what a screen reader meets, of these roles or of all."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        read = [(node.get("role", {}).get("value"), node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]
        return [(role, name) for role, name in read if not roles or role in roles]

    def colours(self, selector="body"):
        """(text, background) of an element as the browser computed them."""
        return tuple(self.value("(style => [style.color, style.backgroundColor])(getComputedStyle(document.querySelector(%s)))" % json.dumps(selector)))

    def picture(self, path=None, whole=False):
        """A PNG of what is visible, or of the whole page; written to `path` if there is one."""
        content = base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])
        if path is not None:
            pathlib.Path(path).write_bytes(content)
        return content

    def pdf(self):
        """What the printer would get."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])
