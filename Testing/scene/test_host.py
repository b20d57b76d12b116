"""A host is a scene and three logics, wherever they come from."""

from types import SimpleNamespace


def test_desktop_and_browser_hand_over_what_they_have(bench):
    from LeFusionLib.scene import Host

    own = bench.host
    logics = {"volumes": own.volumes, "markups": own.markups, "segmentations": own.segmentations}
    modules = SimpleNamespace(**{name: SimpleNamespace(logic=lambda made=made: made) for name, made in logics.items()})
    app = SimpleNamespace(scene=own.scene, **{f"{name}_logic": made for name, made in logics.items()})
    for host in (Host.of_desktop(own.scene, modules), Host.of_trame(app)):
        assert (host.scene, host.volumes, host.markups, host.segmentations) == (own.scene, *logics.values())
        assert host.volumes.CloneVolume(host.scene, bench.scan(), "copy") is not None


def test_the_bridge_brings_neither_torch_nor_the_application(bench):
    import subprocess
    import sys

    code = "import LeFusionLib.scene, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert "slicer" in loaded and loaded & {"torch", "qt", "ctk", "SimpleITK", "trame"} == set()
