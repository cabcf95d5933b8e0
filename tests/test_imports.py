"""The package as it is imported: what it shows, and what `explain` needs on a bare GPU box, torch and numpy."""

import subprocess
import sys

import igcam_batch


def test_the_package_shows_every_public_name_before_it_is_used() -> None:
    code = "import sys, igcam_batch; print(*dir(igcam_batch)); assert 'torch' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert shown.stdout.split() == sorted(igcam_batch.__all__)
    assert all(hasattr(igcam_batch, name) for name in igcam_batch.__all__)


def test_explain_runs_where_nothing_but_torch_and_numpy_is_installed() -> None:
    code = """
import sys

class Absent:
    names = {"ray", "pyarrow", "pydantic", "yaml", "torchvision", "timm", "PIL", "click", "rich", "boto3", "defusedxml"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import torch, igcam_batch
model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
for method in ("integrated-grad-cam", "grad-cam", "grad-cam++"):
    maps = igcam_batch.explain(model, torch.randn(2, 3, 8, 8), torch.tensor([0, 2]), method=method, steps=3)
    assert maps.shape == (2, 6, 6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
