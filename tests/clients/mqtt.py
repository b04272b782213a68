#!/usr/bin/env python3
"""Three kiosks and a real broker: the fleet loses no job when one is killed at its work, and Home Assistant finds what it needs.

    tests/clients/mqtt.py target/release/pochade

Needs mosquitto and mosquitto-clients of Debian. Prints what was found; ends with an error at the first thing that is wrong.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

JOBS = 30
STEPS = 50  # of a job: long enough to be killed at it
KIOSKS = ["alpha", "bravo", "charlie"]
PATIENCE = 300
CONFIG = """
[model]
threads = 1
unload = "5s"
[paint]
steps = 2
[schedule]
every = "7d"
stock = 0
[gallery]
folder = "{folder}/{name}"
free = "1MB"
[mqtt]
broker = "127.0.0.1"
port = {port}
name = "{name}"
[mqtt.fleet]
patience = "3s"
"""


def check(good, what):
    """Says what is so, or ends because it is not."""
    if not good:
        sys.exit(f"WRONG: {what}")
    print(f"  {what}", flush=True)


def until(found, what, patience=PATIENCE):
    """What `found` gives as soon as it gives something."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.05)
    sys.exit(f"WRONG: {what} did not happen in {patience} s")


class Broker:
    """A mosquitto of our own, and its clients."""

    def __init__(self, stack, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.stack, self.folder, self.running = stack, folder, None
        (folder / "broker").mkdir()
        settings = f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        settings += f"persistence_location {folder}/broker/\nuser root\n"
        (folder / "mosquitto.conf").write_text(settings)

    def start(self):
        log = open(self.folder / "mosquitto.log", "a")
        self.running = subprocess.Popen(["mosquitto", "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log)
        self.stack.callback(self.running.kill)
        time.sleep(1)

    def stop(self):
        self.running.terminate()
        self.running.wait()

    def client(self, tool, *words):
        return [tool, "-V", "5", "-h", "127.0.0.1", "-p", str(self.port), *words]

    def send(self, topic, text, *words):
        command = self.client("mosquitto_pub", "-q", "1", "-t", topic, *words)
        subprocess.run([*command, *([] if words else ["-s"])], input=text.encode(), check=True)

    def retained(self, topic):
        """What is kept at a topic, or None."""
        command = self.client("mosquitto_sub", "-t", topic, "-C", "1", "-W", "2", "-N", "--retained-only")
        return subprocess.run(command, capture_output=True).stdout or None

    def listen(self, topic, layout):
        """A file that all messages at a topic are appended to from now on."""
        path = self.folder / f"heard-{len(list(self.folder.glob('heard-*')))}"
        listener = subprocess.Popen(self.client("mosquitto_sub", "-q", "1", "-t", topic, "-F", layout), stdout=path.open("wb"))
        self.stack.callback(listener.kill)
        time.sleep(0.5)
        return path


class Kiosk:
    """A daemon."""

    def __init__(self, stack, broker, program, folder, name):
        self.name, self.log = name, folder / f"{name}.log"
        self.gallery = folder / name
        config = folder / f"{name}.toml"
        config.write_text(CONFIG.format(folder=folder, name=name, port=broker.port))
        self.running = subprocess.Popen([program, "daemon", "--config", str(config)], stderr=self.log.open("w"))
        stack.callback(self.running.kill)

    def seeds(self):
        """The seeds of all its pictures."""
        texts = [path.read_bytes() for path in self.gallery.glob("*.png")]
        return [int(re.search(rb"Seed: (\d+)", text).group(1)) for text in texts]


def lines(path):
    return path.read_text(errors="replace").splitlines()


def results(path):
    """The answers that came in, in their order: pairs of a job's name and what is said of it."""
    heard = [line.split(" ", 2) for line in lines(path) if line.count(" ") >= 2]
    return [(topic.rsplit("/", 1)[1], json.loads(text)) for retained, topic, text in heard if retained == "0" and text.endswith("}")]


def fleet(broker, kiosks, program):
    """Thirty jobs for three, one of whom is killed while it paints."""
    answers = broker.listen("pochade/fleet/results/+", "%r %t %p")
    pictures = broker.listen("pochade/fleet/results/+/picture", "%r %t %x")
    states = broker.listen("pochade/bravo/state", "%p")
    prompt = "a red sun over blue mountains, picture"
    jobs = [{"job": f"job-{i:02}", "prompt": f"{prompt} {i:02}", "seed": 1000 + i, "steps": STEPS} for i in range(JOBS)]
    broker.send("pochade/fleet/jobs", "".join(json.dumps(job) + "\n" for job in jobs), "-l")
    started = time.monotonic()

    seen = 0

    def at_work():
        # What bravo says now: an older line is of a job that may be done by now.
        nonlocal seen
        said, seen = lines(states)[seen:], len(lines(states))
        now = json.loads(said[-1]) if said and len(results(answers)) >= 3 else {"steps": 0}
        busy = now["steps"] == STEPS and 0 < now["step"] < STEPS / 2
        return busy and (f"job-{now['prompt'][-2:]}", now["step"])

    victim, step = until(at_work, "bravo at work")
    kiosks["bravo"].running.kill()
    kiosks["bravo"].running.wait()
    before = results(answers)
    print(f"  bravo was killed at step {step} of {STEPS} of {victim}, when {len(before)} of {JOBS} pictures had arrived")
    check(victim not in dict(before), f"{victim} had not arrived")
    until(lambda: len({name for name, _ in results(answers)}) == JOBS, f"{JOBS} results")
    took = time.monotonic() - started
    time.sleep(3)
    after = results(answers)
    check(len(after) == JOBS and len(dict(after)) == JOBS, f"{JOBS} results arrived in {took:.0f} s, none twice")
    check(all(answer["state"] == "finished" for _, answer in after), "all are finished pictures")
    boards = [answer["board"] for _, answer in after]
    print("  painted by", ", ".join(f"{name}: {boards.count(name)}" for name in KIOSKS))
    late = [answer["board"] for _, answer in after[len(before) :]]
    check("bravo" not in late, f"what bravo left was painted by others, {victim} by {dict(after)[victim]['board']}")
    heard = {line.split(" ")[1].split("/")[3]: bytes.fromhex(line.split(" ")[2]) for line in lines(pictures)}
    check(len(lines(pictures)) == JOBS and len(heard) == JOBS, f"{JOBS} pictures arrived, none twice")
    seeds = sorted(seed for kiosk in kiosks.values() for seed in kiosk.seeds() if 1000 <= seed < 1000 + JOBS)
    check(seeds == list(range(1000, 1000 + JOBS)), "every job's picture is in one gallery, once")
    alone = broker.folder / "alone.png"
    command = [program, "paint", jobs[7]["prompt"], "--seed", "1007", "--steps", str(STEPS), "-q", "-o", str(alone)]
    subprocess.run(command, check=True, capture_output=True)
    check(heard["job-07"] == alone.read_bytes(), "a job's picture is byte for byte what `pochade paint` writes")
    check(until(lambda: not broker.retained("pochade/fleet/members/bravo"), "bravo's end", 30), "bravo has left nothing behind")

    broker.send("pochade/fleet/jobs", json.dumps(jobs[7]))
    broker.send("pochade/fleet/jobs", "a red sun")
    bad = until(lambda: results(answers)[JOBS:], "an answer to what is no job")
    time.sleep(3)
    check(len(results(answers)) == JOBS + 1 and bad[0][1]["state"] == "failed", f"what is no job is answered: {bad[0][1]['error']}")
    check(len(lines(pictures)) == JOBS, "a job that is sent again is not painted again")
    check(kiosks["alpha"].running.poll() is None and kiosks["charlie"].running.poll() is None, "the others go on")


def comeback(broker, kiosks, start):
    """A kiosk that is killed at its work and comes back before anybody inherits."""
    answers = broker.listen("pochade/fleet/results/+", "%r %t %p")
    jobs = [{"job": f"again-{i}", "prompt": f"waves, picture {i}", "seed": 2000 + i, "steps": STEPS} for i in range(6)]
    broker.send("pochade/fleet/jobs", "".join(json.dumps(job) + "\n" for job in jobs), "-l")
    until(lambda: json.loads(broker.retained("pochade/charlie/state"))["step"] > 0, "charlie at work")
    kiosks["charlie"].running.kill()
    kiosks["charlie"].running.wait()
    kiosks["charlie"] = start("charlie")
    until(lambda: len(results(answers)) >= len(jobs), "all results")
    time.sleep(3)
    check(len(dict(results(answers))) == len(results(answers)) == len(jobs), "charlie is killed, comes back and goes on: none lost, none twice")


def interrupt(broker, kiosk):
    """Jobs for a kiosk that somebody does not want to be painted."""
    answers = broker.listen("pochade/fleet/results/+", "%r %t %p")
    jobs = [{"job": f"stopped-{i}", "prompt": "waves", "steps": STEPS} for i in range(8)]
    broker.send("pochade/fleet/jobs", "".join(json.dumps(job) + "\n" for job in jobs), "-l")

    def stopped():
        broker.send(f"pochade/{kiosk.name}/interrupt", "PRESS")
        return [answer for _, answer in results(answers) if "stopped" in answer.get("error", "")]

    answer = until(stopped, "the end of a painting", 30)[0]
    check(answer["board"] == kiosk.name, f"the button `interrupt` stops it: {answer['error']}")
    until(lambda: len(results(answers)) == len(jobs), "the other jobs")


def home(broker, kiosks):
    """What Home Assistant does with a kiosk."""
    announced = json.loads(broker.retained("homeassistant/device/pochade_alpha/config"))
    topics = announced["components"]
    check(broker.retained(announced["availability_topic"]) == b"online", "alpha is online")
    check(broker.retained("pochade/bravo/availability") == b"offline", "bravo, whom the broker misses, is offline")
    state = lambda: json.loads(broker.retained(announced["state_topic"]))
    shown = state()["shown"]
    picture = broker.retained(topics["picture"]["image_topic"])
    check(picture == (kiosks["alpha"].gallery / shown).read_bytes(), f"the picture at its topic is the one on the screen, {shown}")
    broker.send(topics["next"]["command_topic"], "PRESS")
    until(lambda: state()["shown"] != shown, "another picture")
    check(True, "the button `next` shows another picture")
    broker.send(topics["prompt"]["command_topic"], "a yellow flower on blue background")
    until(lambda: "yellow-flower" in state()["shown"], "the picture of a prompt")
    check(True, f"words become a picture on the screen: {state()['shown']}")
    broker.send("pochade/alpha/prompt", "", "-n")
    check(json.loads(broker.retained("pochade/alpha/state"))["failed"] == 0, "an empty line is not painted, and breaks nothing")
    interrupt(broker, kiosks["alpha"])
    time.sleep(36)  # the kiosk looks at the time every half minute
    status = Path(f"/proc/{kiosks['alpha'].running.pid}/status").read_text()
    memory = int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024
    print(f"  idle, with the model given up, alpha takes {memory:.1f} MiB")
    broker.stop()
    time.sleep(4)
    broker.start()
    until(lambda: all("is back" in kiosks[name].log.read_text() for name in ("alpha", "charlie")), "the kiosks' return", 60)
    gone = [line for line in lines(kiosks["alpha"].log) if "has gone" in line]
    back = [line for line in lines(kiosks["alpha"].log) if "is back" in line]
    check(len(gone) == 1 and len(back) == 1 or print(*gone, *back, sep="\n"), "the log says once that the broker went and once that it came back:")
    print("   ", gone[0].strip(), "\n   ", back[0].strip())
    until(lambda: broker.retained("pochade/alpha/availability") == b"online", "alpha online again", 30)
    kiosks["alpha"].running.terminate()
    check(kiosks["alpha"].running.wait(30) == 0, "alpha stops when it is told to")
    check(broker.retained("pochade/alpha/availability") == b"offline", "and says farewell")


def main():
    program = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    if not shutil.which("mosquitto") or not shutil.which("mosquitto_sub"):
        sys.exit("apt install mosquitto mosquitto-clients")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = Broker(stack, folder)
        broker.start()
        start = lambda name: Kiosk(stack, broker, program, folder, name)
        kiosks = {name: start(name) for name in KIOSKS}
        ready = lambda name: json.loads(broker.retained(f"pochade/{name}/state") or "{}").get("shown")
        for name in KIOSKS:
            until(lambda: ready(name), f"{name}'s first picture")
        print("The fleet:")
        fleet(broker, kiosks, program)
        comeback(broker, kiosks, start)
        print("Home Assistant:")
        home(broker, kiosks)
    print("all is well")


if __name__ == "__main__":
    main()
