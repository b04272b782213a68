"""What can be told without any engine: `python -m unittest tests.test_harness`, one folder up."""

import json
import sys
import tempfile
import unittest
from array import array
from pathlib import Path

import run
from harness import child, make, pochade, publish, report
from harness.engines import ENGINES
from harness.workloads import WORKLOADS, Files

SMALL = WORKLOADS["small-unet-32"]
ENDED = child.Ended(0, "", "", 1000)


def row(**figures: object) -> dict:
    name = {"workload": SMALL.name, "engine": "torch", "weights": "f32", "threads": 1}
    return {**name, "run": "then", "gmac": SMALL.gmac, **figures}


class Engines(unittest.TestCase):
    def test_every_engine_reads_a_file_that_can_be_made(self) -> None:
        self.assertLessEqual({engine.form for engine in ENGINES}, set(make.NEEDS))

    def test_an_engine_that_is_left_out_somewhere_says_why(self) -> None:
        for engine in ENGINES:
            self.assertEqual(bool(engine.without), bool(engine.reason), engine.key)
            self.assertLessEqual(engine.without, set(WORKLOADS))


class Children(unittest.TestCase):
    def test_the_peak_is_the_childs_and_not_this_process_s(self) -> None:
        small = child.run([sys.executable, "-c", "pass"], 1)
        large = child.run([sys.executable, "-c", "x = b'1' * 200_000_000"], 1)
        self.assertGreater(large.peak_rss_bytes - small.peak_rss_bytes, 190_000_000)

    def test_threads_reach_the_libraries_that_ask_the_environment(self) -> None:
        ask = "import os; print(os.environ['OMP_NUM_THREADS'])"
        self.assertEqual(child.run([sys.executable, "-c", ask], 3).output, "3\n")

    def test_what_went_wrong_is_the_last_line(self) -> None:
        ended = child.run([sys.executable, "-c", "raise SystemExit('no such model')"], 1)
        self.assertEqual(child.last_line(ended.errors, ended.status), "no such model")


class Pochade(unittest.TestCase):
    def test_the_whole_network_is_taken_and_the_prompts_share_is_added(self) -> None:
        layer = {"gmac": 0.1, "seconds": 9.0}
        whole = {
            "gmac": 3.14,
            "seconds": 0.010,
            "median_seconds": 0.012,
            "setup_seconds": 0.0006,
            "schedule_seconds": 0.0004,
            "percent_of_peak": 70.0,
            "arena_bytes": 1,
            "weight_bytes": 2,
            "peak_rss_bytes": None,
        }
        figures = pochade.figures(json.dumps({"results": [layer, whole]}), ENDED)
        self.assertAlmostEqual(figures["wall_best"], 0.011)
        self.assertEqual(figures["peak_rss_bytes"], 1000)

    def test_sizes_are_given_in_pixels(self) -> None:
        words = pochade.command(Path("pochade"), SMALL, "int8", ["--threads", "1"])
        self.assertEqual(words[words.index("--size") + 1], "256")

    def test_accuracy_is_relative_to_the_reference(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            reference, answer = Path(scratch) / "reference.f32", Path(scratch) / "answer.f32"
            reference.write_bytes(array("f", [3.0, 4.0]).tobytes())
            answer.write_bytes(array("f", [3.0, 4.5]).tobytes())
            self.assertAlmostEqual(pochade.distance(answer, reference), 0.1)

    def test_without_the_programs_beside_the_binary_there_is_no_accuracy(self) -> None:
        files = Files(Path("models"), SMALL)
        self.assertIsNone(pochade.relative_rmse(Path("no/such/pochade"), files, "int8"))

    def test_a_network_is_opened_as_a_model_of_one_part_without_a_copy(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            for name, place in (("small-unet-32", "unet"), ("taesd-64", "vae")):
                files = Files(Path(scratch), WORKLOADS[name])
                files.diffusers.mkdir(parents=True)
                folder = pochade.folder_of(files)
                self.assertEqual((folder / place).resolve(), files.diffusers.resolve())
                self.assertIn(place, json.loads((folder / "model_index.json").read_text()))
            self.assertEqual(pochade.model(files, "f32", Path("unused")), folder)


class Report(unittest.TestCase):
    def test_a_row_says_when_the_machine_was_busy(self) -> None:
        self.assertTrue(report.is_busy(row(wall_best=1.2, cpu_best=1.0)))
        self.assertFalse(report.is_busy(row(wall_best=1.1, cpu_best=1.0)))

    def test_a_cell_without_a_figure_stays_empty(self) -> None:
        cells = report.line(row(wall_best=0.0123)).split("|")
        self.assertEqual(cells[3].strip(), "12.3 ms")
        self.assertEqual([cell.strip() for cell in cells[5:6] + cells[7:10]], [""] * 4)

    def test_a_row_without_processor_time_can_be_told(self) -> None:
        self.assertEqual(report.summary(row(wall_best=2.5)), "2.50 s wall")
        self.assertEqual(report.summary(row(wall_best=123.4)), "123 s wall")

    def test_below_the_table_stand_what_failed_and_how_an_unusual_figure_was_taken(self) -> None:
        rows = [row(wall_best=2.5, note="one step"), row(failed="no such file"), row(wall_best=1.0)]
        remarks = [s for s in report.section(SMALL, rows, 1).splitlines() if s.startswith("- ")]
        self.assertEqual(remarks, ["- torch f32: one step", "- torch f32: failed: no such file"])

    def test_a_second_run_replaces_the_row_of_the_first(self) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            content = {"rows": [], "versions": {}}
            content["machine"] = {"processor": "p", "cores": 2, "instructions": ["avx2"]}
            for run, seconds in (("first", 1.0), ("second", 2.0)):
                record = report.Record(Path(scratch), run, 1, content)
                record.add(SMALL, "torch", "f32", {"wall_best": seconds, "cpu_best": seconds})
            rows = json.loads((Path(scratch) / "results.json").read_text())["rows"]
            self.assertEqual([row["wall_best"] for row in rows], [2.0])

    def test_a_second_pass_of_one_run_adds_to_the_first(self) -> None:
        first = row(wall_best=2.0, cpu_best=2.0, runs={"wall": [2.0, 4.0], "cpu": [2.0, 4.0]})
        second = row(wall_best=1.0, cpu_best=1.0, runs={"wall": [1.0], "cpu": [1.0]})
        for one, other in ((first, second), (second, first)):
            both = report.joined(one, other)
            self.assertEqual((both["wall_best"], both["cpu_median"]), (1.0, 2.0))
        later = {**second, "run": "later"}
        self.assertEqual(report.joined(first, later), later)


class Choice(unittest.TestCase):
    def test_an_engine_is_named_with_its_weights_or_by_its_name_alone(self) -> None:
        keys = ["openvino int8", "openvino int8 without AMX", "onnxruntime f32"]
        for name, count in (("openvino", 2), ("openvino int8", 1), ("onnx", 0)):
            self.assertEqual([run.is_named(key, [name]) for key in keys].count(True), count, name)

    def test_an_unknown_engine_is_refused(self) -> None:
        with self.assertRaisesRegex(SystemExit, "no engine 'openvno'"):
            run.chosen(["pochade", "openvno"])


class Publish(unittest.TestCase):
    def test_the_table_replaces_what_is_between_the_marks_and_nothing_else(self) -> None:
        machine = {"processor": "p", "cores": 2, "instructions": ["avx2"]}
        content = {"rows": [row(wall_best=1.0)], "versions": {}, "machine": machine}
        text = f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n"
        once = publish.put(text, content)
        self.assertTrue(once.startswith("before\n") and once.endswith("\nafter\n"))
        self.assertIn("\n### small-unet-32, 3.14 GMAC, 1 thread\n", once)
        self.assertNotIn("old", once)
        self.assertEqual(publish.put(once, content), once)

    def test_a_document_without_marks_is_refused(self) -> None:
        with self.assertRaisesRegex(SystemExit, "lacks the marks"):
            publish.put("no marks", {})


if __name__ == "__main__":
    unittest.main()
