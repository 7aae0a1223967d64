"""The attribution maps that are timed, and whose library each is compared with."""
from typing import NamedTuple


class Map(NamedTuple):
    """peer     the library
    passes      forward passes a map takes, a gradient counting as two: for GFLOP
    unchecked   why the two maps are not compared, only their times
    slow        more than a second of a VGG-16's time: left out there
    """
    peer: str
    passes: int
    unchecked: str = ""
    slow: bool = False


OWN_SAMPLES = "each draws samples of its own"
SAMPLES, STEPS, MASKS, SEGMENTS = 20, 20, 100, 60
WINDOW, STRIDE = 32, 16                 # of occlusion, in pixels
POSITIONS = 14 * 14

MAPS = {
    "saliency": Map("Captum", 2),
    "input_x_gradient": Map("Captum", 2),
    "guided_backprop": Map("Captum", 2),
    "deconvnet": Map("Captum", 2),
    "unit_gradient": Map("Captum", 2),
    "integrated_gradients": Map("Captum", 2 * STEPS),
    "smoothgrad": Map("Captum", 2 * SAMPLES),
    "expected_gradients": Map("Captum", 2 * SAMPLES, OWN_SAMPLES),
    "deeplift": Map("Captum", 4, "Captum 0.9 with PyTorch 2.13 is not complete beyond a max pooling"),
    "lrp": Map("zennit", 5),
    "excitation_backprop": Map("zennit", 3, "zennit goes on to the pixels"),
    "full_gradient": Map("grad-cam", 2, "grad-cam scales each layer by other ends"),
    "gradcam": Map("grad-cam", 1),
    "gradcam_plus_plus": Map("grad-cam", 1, "grad-cam adds 1e-6, which outweighs the gradients of these networks"),
    "xgradcam": Map("grad-cam", 1),
    "layercam": Map("grad-cam", 1),
    "eigencam": Map("grad-cam", 1),
    "guided_gradcam": Map("Captum", 3),
    "scorecam": Map("grad-cam", 513, slow=True),
    "ablation_cam": Map("grad-cam", 1, slow=True),
    "feature_ablation": Map("Captum", SEGMENTS),
    "occlusion": Map("Captum", POSITIONS),
    "rise": Map("PyTorch", MASKS),
    "lime": Map("Captum", MASKS, OWN_SAMPLES),
    "kernel_shap": Map("Captum", MASKS, OWN_SAMPLES),
}
# without a library that installs beside PyTorch 2.13: counter_evidence, extremal_perturbation (TorchRay), grabcut
