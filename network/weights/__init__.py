"""Files of weights to networks, and networks to files for other programs.

In: .pth and .safetensors of this project and others. Out: networks, reports of what was loaded, .onnx, .pt2,
.safetensors. May import `network` and `common`; knows nothing of training and its checkpoint folders.
"""
