"""iNNvestigate on a whole network: its own choice of rules for each layer."""
from ..techniques import load

# what iNNvestigate calls a rule of every layer
EVERYWHERE = {"lrp_z": "epsilon:1e-12", "lrp_epsilon": "epsilon:1e-7", "lrp_flat": "flat", "lrp_w_square": "w_square",
              "lrp_alpha1_beta0": "alpha_beta:1:0", "lrp_alpha2_beta1": "alpha_beta:2:1", "lrp_z_plus": "z_plus",
              "lrp_deep_taylor": "z_plus"}


def compute(net, picture, about, arrays, key):
    """Stored with colours in the network's order. The rules of ReLUs and relevance start with the score there."""
    if key.startswith("no_bias_"):
        net = net.with_weights({name: w.data * 0 for name, w in net.weights.items() if name.endswith("/bias")})
        key = key[len("no_bias_"):]
    target, options = about["class"], {"reduce": "none"}
    if key == "gradient":
        technique = "saliency"
    elif key in ("guided_backprop", "deconvnet"):
        technique, options = key, {"start_with": "score"}
    elif key == "integrated_gradients":
        technique, options = key, options | {"baseline": "zero", "method": "left", "steps": about["steps"]}
    elif key.startswith("lrp_"):
        technique, options = "lrp", options | {"stabilizer": 0.0}
        options |= {"layers": f"*={EVERYWHERE[key]}"} if key in EVERYWHERE else {"preset": key[4:]}
    else:
        technique = key
    return net.to_rgb(load(technique)(net, picture, target=target, **options).values)
