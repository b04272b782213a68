"""Programs that are there already, unmodified, against a daemon: PyPI's `webuiapi` and `openai`.

    pip install -r tests/clients/requirements.txt
    python3 tests/clients/run.py target/release/pochade

Checks that pictures are, byte for byte, those that `pochade paint` writes, that progress moves, that an
interrupt stops within a step, that a stream shows the picture emerging; and measures how long the
daemon takes to answer while it paints and while it does not. Ends with status 1 if anything is wrong.
"""

import base64
import http.client
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import openai
import requests
import webuiapi
from PIL import Image

PROMPT = "a red sun over blue mountains, flat"
TOKEN = "correct-horse-battery"
CONFIG = """
[schedule]
every = "1d"
stock = 0
[paint]
steps = 4
[gallery]
folder = "{folder}/gallery"
free = "1MB"
[web]
listen = "127.0.0.1:0"
token = "{token}"
"""


class Daemon:
    """A daemon on a free port, until the block ends."""

    def __init__(self, program, folder):
        config = pathlib.Path(folder, "pochade.toml")
        config.write_text(CONFIG.format(folder=folder, token=TOKEN))
        command = [program, "daemon", "--config", str(config)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.log = []
        self.port = None
        ready = threading.Event()
        threading.Thread(target=self.read, args=[ready], daemon=True).start()
        if not ready.wait(60):
            raise SystemExit("the daemon does not say where it serves")

    def read(self, ready):
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"serving http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                ready.set()

    def get(self, path):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return requests.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=60)

    def wait_until_idle(self):
        while True:
            state = self.get("/api/state").json()
            if not state["painting"] and not state["waiting"] and state["counts"]["painted"]:
                return state
            time.sleep(0.02)

    def __enter__(self):
        self.wait_until_idle()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        if self.process.wait(20) != 0:
            raise SystemExit("".join(self.log))


def painted(program, folder, seed, steps, *more):
    """The file that `pochade paint` writes."""
    path = pathlib.Path(folder, f"{seed}-{steps}.png")
    command = [program, "paint", PROMPT, "--seed", str(seed), "--steps", str(steps), "--quiet"]
    subprocess.run([*command, *more, "--output", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path.read_bytes()


def check(what, good):
    print(f"{'ok' if good else 'WRONG':>6}  {what}", flush=True)
    if not good:
        check.failed = True


check.failed = False


def web_ui(daemon, program, folder):
    api = webuiapi.WebUIApi(host="127.0.0.1", port=daemon.port, sampler="DDIM", steps=20)
    api.set_auth("anybody", TOKEN)
    result = api.txt2img(prompt=PROMPT, seed=7, cfg_scale=3.0, width=128, height=128, n_iter=2)
    same = ["--sampler", "ddim", "--guidance", "3", "--size", "128x128"]
    for i, seed in enumerate((7, 8)):
        file = base64.b64decode(result.json["images"][i])
        check(f"webuiapi: txt2img, seed {seed}: bytes as of `paint`",
              file == painted(program, folder, seed, 20, *same))
    check("webuiapi: info tells the seeds", result.info["all_seeds"] == [7, 8])
    told = api.png_info(result.image)
    check("webuiapi: png_info", told.info.startswith(PROMPT) and "Seed: 7" in told.info)
    names = [api.util_get_model_names(), api.util_get_sampler_names(), api.util_get_scheduler_names()]
    check(f"webuiapi: {names[0]}, {len(names[1])} samplers, {names[2]}", all(names))
    api.util_set_model(names[0][0])
    check("webuiapi: options", api.get_options()["sd_model_checkpoint"] == names[0][0])
    for lists in ("get_sd_vae", "get_upscalers", "get_latent_upscale_modes", "get_scripts", "get_memory"):
        getattr(api, lists)()
    try:
        api.txt2img(prompt=PROMPT, sampler_name="Heun")
        check("webuiapi: an unknown sampler is refused", False)
    except RuntimeError as error:
        check("webuiapi: an unknown sampler is refused", error.args[0] == 404)
    return api


def from_a_picture(api, program, folder):
    start = Image.open(io.BytesIO(painted(program, folder, 7, 20))).convert("RGB")
    path = pathlib.Path(folder, "start.png")
    start.save(path)
    result = api.img2img(images=[start], prompt=PROMPT, seed=9, cfg_scale=3.0, width=128, height=128,
                         denoising_strength=0.5)
    wanted = painted(program, folder, 9, 20, "--sampler", "ddim", "--guidance", "3", "--size",
                     "128x128", "--from", str(path), "--strength", "0.5")
    check("webuiapi: img2img: bytes as of `paint --from`",
          base64.b64decode(result.json["images"][0]) == wanted)


def interrupted(daemon, api):
    """Interrupts a batch, and looks how many steps were done after that."""
    done = []
    painting = threading.Thread(
        target=lambda: done.append(api.txt2img(prompt=PROMPT, steps=50, width=128, height=128, n_iter=3)))
    painting.start()
    steps = set()
    while len(steps) < 4:
        told = api.get_progress()
        if told["state"]["sampling_step"]:
            steps.add(told["state"]["sampling_step"])
    check(f"webuiapi: progress moves: steps {sorted(steps)} of {told['state']['sampling_steps']}", True)
    start = time.perf_counter()
    api.interrupt()
    painting.join()
    span = time.perf_counter() - start
    state = daemon.get("/api/state").json()
    lasted = [line for line in daemon.log if "ERROR" in line]
    check(f"webuiapi: interrupt: the whole batch was over {span * 1000:.0f} ms later",
          state["counts"]["interrupted"] == 1 and not state["waiting"] and not lasted)
    check("webuiapi: interrupt: the unfinished picture came back", len(done[0].images) == 1)
    idle = api.get_progress()
    check("webuiapi: progress is idle", idle["progress"] == 0 and idle["state"]["job_count"] == 0)
    return span


def open_ai(daemon, program, folder):
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{daemon.port}/v1", api_key=TOKEN)
    model = client.models.list().data[0].id
    more = {"seed": 7, "steps": 20}
    answer = client.images.generate(model=model, prompt=PROMPT, n=2, size="128x128",
                                    response_format="b64_json", extra_body=more)
    for i, seed in enumerate((7, 8)):
        check(f"openai: generate, seed {seed}: bytes as of `paint`",
              base64.b64decode(answer.data[i].b64_json) == painted(program, folder, seed, 20))
    events = client.images.generate(model=model, prompt=PROMPT, stream=True, partial_images=3,
                                    extra_body={**more, "steps": 40})
    events = list(events)
    kinds = [event.type.split(".")[1] for event in events]
    check(f"openai: stream: {kinds}", kinds == ["partial_image"] * 3 + ["completed"])
    sizes = {Image.open(io.BytesIO(base64.b64decode(event.b64_json))).size for event in events}
    check(f"openai: stream: pictures of {sizes}", sizes == {(128, 128)})
    check("openai: stream: the last one's bytes are as of `paint`",
          base64.b64decode(events[-1].b64_json) == painted(program, folder, 7, 40))
    try:
        client.images.generate(model=model, prompt="a murder")
        check("openai: a word that is not painted is refused", False)
    except openai.BadRequestError as error:
        check(f"openai: {error.body['message']}", error.code == "moderation_blocked")
    try:
        wrong = openai.OpenAI(base_url=client.base_url, api_key="sk-wrong-wrong-wrong")
        wrong.models.list()
        check("openai: a wrong token is refused", False)
    except openai.AuthenticationError:
        check("openai: a wrong token is refused", True)
    return client


def edited(client, program, folder):
    start = pathlib.Path(folder, "start.png")
    answer = client.images.edit(image=start.open("rb"), prompt=PROMPT, size="128x128",
                                extra_body={"seed": 9, "steps": 20, "strength": 0.5})
    wanted = painted(program, folder, 9, 20, "--size", "128x128", "--from", str(start), "--strength", "0.5")
    check("openai: edit: bytes as of `paint --from`",
          base64.b64decode(answer.data[0].b64_json) == wanted)
    events = client.images.edit(image=start.open("rb"), prompt=PROMPT, size="128x128", stream=True,
                                partial_images=1, extra_body={"seed": 9, "steps": 20, "strength": 0.5})
    events = list(events)
    kinds = [event.type for event in events]
    check(f"openai: edit: stream: {kinds}", kinds == ["image_edit.partial_image", "image_edit.completed"])
    check("openai: edit: stream: bytes as of `paint --from`",
          base64.b64decode(events[-1].b64_json) == wanted)


def answer_times(daemon, path, seconds):
    """Milliseconds of requests one after the other, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        connection.getresponse().read()
        times.append((time.perf_counter() - start) * 1000)
        time.sleep(0.005)
    return sorted(times)


def answers_in_time(daemon, seconds=6):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    name = daemon.get("/api/gallery?limit=1").json()["pictures"][0]["name"]
    for path in ("/api/state", f"/api/gallery/{name}?width=64"):
        told = []
        for painting in (False, True):
            stop = threading.Event()

            def paint():
                while not stop.is_set():
                    order = {"prompt": PROMPT, "steps": 50, "show": False}
                    requests.post(f"http://127.0.0.1:{daemon.port}/api/orders", json=order, headers=headers)
                    time.sleep(0.2)

            worker = threading.Thread(target=paint)
            if painting:
                worker.start()
                time.sleep(1)
            times = answer_times(daemon, path, seconds)
            if painting:
                stop.set()
                worker.join()
                while (state := daemon.get("/api/state").json())["waiting"] or state["painting"]:
                    for ticket in state["waiting"] + [state["painting"] or {}]:
                        if ticket.get("id"):
                            requests.delete(f"http://127.0.0.1:{daemon.port}/api/orders/{ticket['id']}",
                                            headers=headers)
            told.append([times[len(times) // 2], times[int(len(times) * 0.99)], len(times)])
        (idle, idle99, n), (busy, busy99, m) = told
        check(f"{path.split('?')[0][:12]}: median {idle:.1f} ms idle, {busy:.1f} ms painting; p99 {idle99:.1f} ms "
              f"idle ({n}), {busy99:.1f} ms painting ({m}): {busy99 / idle99:.1f} x", busy99 < 50)


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        with Daemon(program, folder) as daemon:
            api = web_ui(daemon, program, folder)
            from_a_picture(api, program, folder)
            interrupted(daemon, api)
            client = open_ai(daemon, program, folder)
            edited(client, program, folder)
            if "--times" in sys.argv:
                answers_in_time(daemon)
    sys.exit(check.failed)


main()
