"""The pack in a real ComfyUI, used as its front end uses it. The generator is tiny and random."""

from __future__ import annotations

import io
import json
import os
import re

import pytest
from conftest import ROOT
from graphs import TINY, complete, searched, to_api
from live_client import JPEG, PREVIEW, Refused
from PIL import Image
from tiny import save_tiny
from writers import save_nvlabs, save_tensorflow, stylegan2_for_tensorflow
from zoo import ZOO


def loader(file=TINY):
    return {"load": ("LoadStyleGAN", {"stylegan_file": file})}


def face(seed=0, file=TINY):
    return loader(file) | {
        "sample": ("PULSESampleFace", {"stylegan": ["load", 0], "seed": seed}),
        "save": ("SaveImage", {"images": ["sample", 0], "filename_prefix": "face"}),
    }


def search(**settings):
    """A sampled face, made small, searched for, saved and shown."""
    return searched(**{"steps": 10, **settings}) | {
        "save": ("SaveImage", {"images": ["search", 0], "filename_prefix": "found"}),
        "preview": ("PreviewImage", {"images": ["search", 1]}),
        "residual": ("PreviewImage", {"images": ["search", 4]}),
    }


def test_the_server_knows_all_nodes(known):
    ours = {name for name, info in known.items() if info["python_module"] == "custom_nodes.ComfyUI-PULSE"}
    assert ours == set(json.loads((ROOT / "tests" / "nodes" / "schemas.json").read_text(encoding="utf-8")))
    assert known["PULSESearch"]["output"] == ["IMAGE", "IMAGE", "STYLEGAN_LATENT", "STRING", "IMAGE"]


def test_the_pack_is_imported_without_complaint(server):
    line = re.search(r"[0-9.]+ seconds(.*): .*ComfyUI-PULSE", server.log.read_text(encoding="utf-8"))
    assert line, server.tail()
    assert line[1] == ""


def test_a_checkpoint_that_is_put_in_later_is_offered(server, client):
    def choices():
        options = client.get_json("/object_info/LoadStyleGAN")["LoadStyleGAN"]["input"]["required"]["stylegan_file"][1]
        return options["options"]

    assert "later.safetensors" not in choices()
    save_tiny(server.stylegan / "later.safetensors")
    assert "later.safetensors" in choices()


def test_the_chain_runs_and_its_images_can_be_fetched(run, pictures):
    done = run(search())
    assert done.succeeded()
    assert done.history["status"]["status_str"] == "success"
    assert sorted(picture.size for picture in pictures(done)) == [(8, 8), (8, 8), (32, 32)]


def test_progress_and_previews_arrive_while_it_searches(run):
    done = run(search(seed=1, steps=10, eps=1.0, preview_every=5))
    steps = [data["value"] for data in done.of("progress") if (data["node"], data["max"]) == ("search", 11)]
    assert steps == sorted(set(steps) & set(range(1, 12)))  # since 0.9.2 the host leaves some out
    assert steps[-1] == 11
    assert len(done.previews) == 3  # of steps 0, 5 and 10
    for message in done.previews:
        assert [int.from_bytes(message[i : i + 4], "big") for i in (0, 4)] == [PREVIEW, JPEG]
        picture = Image.open(io.BytesIO(message[8:]))
        assert (picture.format, picture.mode) == ("JPEG", "RGB")
    assert done.texts["search"].startswith("1: L2 0.")


def test_an_unchanged_graph_is_cached_and_another_seed_is_not(run):
    graph = search(seed=2)
    assert run(graph).succeeded()
    again = run(graph)
    assert again.succeeded()
    assert again.cached == set(graph)
    other = run(search(seed=3))
    assert other.succeeded()
    assert other.cached == {"load", "sample", "small"}


def test_a_search_is_repeatable_across_runs(run, pictures):
    first = pictures(run(search(seed=4)))
    run(search(seed=5))  # the host keeps the outputs of the last graph alone
    again = run(search(seed=4))
    assert "search" not in again.cached
    assert [picture.tobytes() for picture in pictures(again)] == [picture.tobytes() for picture in first]


def test_an_interrupt_stops_a_search_within_a_step_and_the_next_run_works(client, run, known):
    """After its answer to /interrupt the server is made to send a mark: what it sent before is not counted."""
    at_once, total = 32, 32 * 100_001
    settings = {"steps": 100_000, "solutions": at_once, "batch_size": at_once, "preview_every": 1}
    long = client.queue(complete(search(seed=6, **settings), known))
    for kind, data in client.follow(long, timeout=120):
        if kind == "progress" and (data["node"], data["max"]) == ("search", total) and data["value"] >= 5 * at_once:
            break
    earlier = len(long.marks)
    client.post("/interrupt", {})
    client.post("/queue", {"clear": True})  # the queue is empty, but all clients hear of it
    client.finish(long, timeout=30)
    assert long.end == "execution_interrupted"
    assert long.of("execution_interrupted")[0]["node_id"] == "search"
    assert "execution_interrupted" in [kind for kind, _ in long.history["status"]["messages"]]
    steps = [data["value"] for data in long.of("progress") if (data["node"], data["max"]) == ("search", total)]
    assert steps == sorted(set(steps))
    assert {step % at_once for step in steps} == {0}
    mark = [*long.marks, len(long.events)][earlier]  # the run may end before the mark comes
    after = [kind for kind, _ in long.events[mark:]]
    assert after.count("progress") <= 1
    assert run(search(seed=6)).succeeded()


def test_an_unusable_target_is_told_to_the_user(run):
    graph = search() | {"small": ("EmptyImage", {"width": 33, "height": 33})}
    refused = run(graph)
    assert refused.end == "execution_error"
    assert refused.of("execution_error")[0]["node_id"] == "search"
    assert "The target is 33x33; tiny makes 32x32. Accepted: at most the generator's size." in refused.error
    assert run(search()).succeeded()


def test_a_missing_checkpoint_is_told_before_the_run(run, server):
    with pytest.raises(Refused) as refused:
        run(face(file="gone.safetensors"))
    (error,) = json.loads(str(refused.value))["node_errors"]["load"]["errors"]
    assert error["extra_info"]["input_name"] == "stylegan_file"
    assert "The checkpoint 'gone.safetensors' is not on this machine." in error["details"]
    assert f"put gone.safetensors into {server.stylegan}" in error["details"]


def test_a_changed_checkpoint_is_loaded_again(run, pictures, server):
    path = save_tiny(server.stylegan / "changing.safetensors")
    (before,) = pictures(run(face(file=path.name)))
    assert run(face(file=path.name)).cached == {"load", "sample", "save"}
    time_before = path.stat().st_mtime_ns
    save_tiny(path, seed=1)
    later = time_before + 2_000_000_000
    os.utime(path, ns=(later, later))
    changed = run(face(file=path.name))
    assert changed.succeeded()
    assert "load" not in changed.cached
    assert pictures(changed)[0].tobytes() != before.tobytes()


def test_a_connected_fit_is_searched_with(run):
    graph = search(gaussian=["fit", 0]) | {"fit": ("FitLatentGaussian", {"stylegan": ["load", 0], "samples": 2000})}
    assert run(graph).succeeded()


def test_a_workflow_of_the_front_end_is_converted_to_what_the_server_runs(client, known, pictures):
    """With a seed's control widget, a note, a primitive, a reroute and an optional input left open."""
    workflow = {
        "nodes": [
            {"id": 1, "type": "LoadStyleGAN", "widgets_values": [TINY]},
            {"id": 2, "type": "Reroute", "inputs": [{"name": "", "link": 1}]},
            {
                "id": 3,
                "type": "PULSESampleFace",
                "inputs": [{"name": "stylegan", "link": 2}, {"name": "seed", "link": 5, "widget": {"name": "seed"}}],
                "widgets_values": [9, "fixed", 2, 0.5],
            },
            {
                "id": 4,
                "type": "BicubicDownsample",
                "inputs": [{"name": "image", "link": 3}],
                "widgets_values": ["size", 32, 16, 8],
            },
            {"id": 5, "type": "PreviewImage", "inputs": [{"name": "images", "link": 4}]},
            {"id": 6, "type": "PrimitiveNode", "widgets_values": [9, "fixed"]},
            {"id": 7, "type": "MarkdownNote", "widgets_values": ["Hello"]},
        ],
        "links": [
            [1, 1, 0, 2, 0, "*"],
            [2, 2, 0, 3, 0, "STYLEGAN"],
            [3, 3, 0, 4, 0, "IMAGE"],
            [4, 4, 0, 5, 0, "IMAGE"],
            [5, 6, 0, 3, 1, "INT"],
        ],
    }
    graph = to_api(workflow, known)
    values = {"seed": 9, "count": 2, "truncation": 0.5, "class_label": -1}  # the last was appended later
    assert graph["3"]["inputs"] == {"stylegan": ["1", 0], **values}
    done = client.run(graph)
    assert done.succeeded()
    assert [picture.size for picture in pictures(done)] == [(16, 8)] * 2


def test_a_pickled_generator_is_searched_inspected_and_saved(run, server, client):
    example = ZOO["stylegan2 tall"]()
    save_nvlabs(server.stylegan / "portrait.pkl", example.tensors)
    graph = loader("portrait.pkl") | {
        "sample": ("PULSESampleFace", {"stylegan": ["load", 0], "seed": 1}),
        "small": ("BicubicDownsample", {"image": ["sample", 0], "factor": 8}),
        "fit": ("FitLatentGaussian", {"stylegan": ["load", 0], "samples": 1000}),
        "search": (
            "PULSESearch",
            {"stylegan": ["load", 0], "image": ["small", 0], "gaussian": ["fit", 0], "steps": 3, "class_label": -1},
        ),
        "show": ("SaveImage", {"images": ["search", 0], "filename_prefix": "portrait"}),
        "inspect": ("PULSEInspectStyleGAN", {"stylegan": ["load", 0]}),
        "keep": ("PULSESaveStyleGAN", {"stylegan": ["load", 0], "filename_prefix": "stylegan/portrait"}),
    }
    done = run(graph)
    assert done.succeeded()
    (image,) = (Image.open(io.BytesIO(client.get("/view", **place))) for place in done.images())
    assert image.size == (32, 64)
    options = client.get_json("/object_info/LoadStyleGAN")["LoadStyleGAN"]["input"]["required"]["stylegan_file"][1]
    (saved,) = (name for name in options["options"] if name.startswith("portrait_"))
    assert run(face(file=saved)).succeeded()


def test_a_tensorflow_pickle_is_loaded(run, server):
    variables = stylegan2_for_tensorflow(ZOO["stylegan2 resnet"]().tensors)
    save_tensorflow(server.stylegan / "tf.pkl", variables, "G_synthesis_stylegan2")
    assert run(face(file="tf.pkl")).succeeded()


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(run, server):
    marker = server.stylegan / "ran"
    program = b"cposix\nsystem\n" + b"X" + len(f"touch {marker}").to_bytes(4, "little") + f"touch {marker}".encode()
    (server.stylegan / "evil.pkl").write_bytes(b"\x80\x02" + program + b"\x85R.")
    refused = run(face(file="evil.pkl"))
    assert "asks to run posix.system. Nothing was run." in refused.error
    assert not marker.exists()


def photograph(**align):
    """A photograph's face, found, searched for and put back; the empty mask of Load Image is connected."""
    return loader() | {
        "photo": ("LoadImage", {"image": "eileen_collins.jpg"}),
        "align": ("PULSEAlignFaces", {"image": ["photo", 0], "mask": ["photo", 1], "size": 64, **align}),
        "search": (
            "PULSESearch",
            {"stylegan": ["load", 0], "image": ["align", 0], "faces": ["align", 1], "steps": 3, "lr_size": 8},
        ),
        "paste": (
            "PULSEPasteFaces",
            {"image": ["photo", 0], "restored": ["search", 0], "faces": ["align", 1], "enlarge": 2.0},
        ),
        "show": ("PreviewImage", {"images": ["align", 2]}),
        "save": ("SaveImage", {"images": ["paste", 0], "filename_prefix": "photograph"}),
        "invented": ("MaskToImage", {"mask": ["paste", 1]}),
        "mask": ("PreviewImage", {"images": ["invented", 0]}),
    }


def test_a_photograph_goes_in_and_comes_out(run, pictures):
    done = run(photograph())
    assert done.succeeded(), done.error
    assert sorted(picture.size for picture in pictures(done)) == [(512, 512), (1024, 1024), (1024, 1024)]
    assert "px, holds" in done.texts["align"]
    assert "score" in done.texts["align"]
    assert "matched at 8 of" in done.texts["search"]


def test_a_photograph_without_a_face_is_told_or_passes(run, pictures):
    nobody = photograph() | {"photo": ("EmptyImage", {"width": 200, "height": 100, "color": 8421504})}
    nobody["align"][1].pop("mask")
    assert "No face was found in the picture (200x100)" in run(nobody).error
    nobody["align"][1]["no_face"] = "pass through"
    done = run(nobody)
    assert done.succeeded(), done.error
    assert (400, 200) in [picture.size for picture in pictures(done)]
