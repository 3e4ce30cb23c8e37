"""Pages in a real browser: Debian's Chromium, driven through python3-selenium."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import time

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

PATIENCE = 60  # seconds, for what should take far less than one

# Chromium asks the network for nothing but what a page asks for.
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--lang=en-US"]


class Browser:
    """driver: selenium's; downloads: the folder that files go to."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads = driver, pathlib.Path(downloads)

    def open(self, path):
        """Loads a file, as a double click on it would.  It finds in localStorage what the page before it
        left: Chromium loses what is stored in the moment that a page is left, now and then; readers are not
        so fast."""
        uri = pathlib.Path(path).resolve().as_uri()
        stored = self.stored()
        self.driver.get(uri)
        deadline = time.monotonic() + PATIENCE
        while stored is not None and self.stored() != stored:
            assert time.monotonic() < deadline, f"the browser has not stored {stored}"
            self.script("localStorage.clear(); arguments[0].forEach(item => localStorage.setItem(...item))",
                        stored)
            time.sleep(0.1)
            self.driver.get(uri)

    def stored(self):
        """What localStorage has for files' pages; None in another page, which has none."""
        return self.script(
            "return location.protocol === 'file:' ? Object.entries(localStorage).sort() : null")

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def script(self, text, *arguments):
        """What the function body gives; arguments[0] ..."""
        return self.driver.execute_script(text, *arguments)

    def insert(self, element, text):
        """Text as an input method gives it: of any characters, which keys are not in every version of the
        driver."""
        self.script("arguments[0].focus()", element)
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})

    def emulate(self, width, height, dark=False):
        """A screen of this size in CSS pixels, light or dark."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    def screenshot(self, path):
        self.driver.save_screenshot(str(path))

    def complaints(self):
        """What the console has had of warnings and errors since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """The addresses that were asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [message["params"]["request"]["url"] for message in messages
                if message["method"] == "Network.requestWillBeSent"]

    def has_dialog(self):
        try:
            self.driver.switch_to.alert
        except NoAlertPresentException:
            return False
        return True


@contextlib.contextmanager
def browser(width=1280, height=800):
    """A Browser with a new profile, which goes away with it.  Skips the test where there is none."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("there is no chromium with its driver (Ubuntu has it as a snap alone)")
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"  # the driver listens there
    with tempfile.TemporaryDirectory(prefix="ffkv-browser-") as place:
        downloads = pathlib.Path(place) / "downloads"
        downloads.mkdir()
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in [*FLAGS, f"--user-data-dir={place}/profile", f"--window-size={width},{height}"]:
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.set_capability("unhandledPromptBehavior", "ignore")  # has_dialog sees them
        driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        try:
            driver.set_page_load_timeout(PATIENCE)
            driver.set_script_timeout(PATIENCE)
            driver.get("about:blank")
            driver.get_log("performance")  # what Chromium's own first page asked for
            yield Browser(driver, downloads)
        finally:
            driver.quit()
