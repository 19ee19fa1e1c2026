r"""Test and measure on a GPU in some minutes: python -m benchmarks.gpu --minutes 8 --output DIR

It is made for a GPU that is at hand for a quarter of an hour. The sections run in the order of their worth, each in a
process of its own and with its own limit of time, a share of --minutes; what one does not use goes to those after it.
Whatever ends a section (an error, a crash, too little memory, its limit), the next one runs.

    a  the tests that need a GPU, 3.5 minutes at most
    b  the limits of the card: matrix products, memory
    h  the fused operations of network/kernels
    c  a training step of srtg_r3d_34 and of its plain twin, in every form; torch.compile and CUDA graphs
    d  the same for other networks, and torchvision's
    e  every shape of the multigrid plan of train_kinetics.py
    i  the step of the Trainer with each part of --recipe modern
    f  real training: the time that it waits for data, the cores that it would need, the share of augmentation
    g  real learning: top-1 and minutes on the videos of --videos or --dataset

DIR gets four files, which are up to date after every measurement: results.json, results.md (the same as a table),
profiles.txt (the profiler's tables) and log.txt (all output of the sections). Sections that are run again replace their
results in DIR. The exit status is 0 if every section that was asked for wrote its results.

On a machine without network, the packages of requirements.txt have to come along. Where torch, torchvision, OpenCV,
onnx, onnxruntime, onnxscript, rich, filelock, safetensors, tensorboard, matplotlib, pytest, pytest-timeout and
hypothesis are there, only two are missing; bring them from a machine of the same kind of processor:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d wheels av==16.1.0 simplejpeg==1.9.0

and there, for a quarter of an hour in commands of ten minutes at most:

    pip install --no-index --no-deps --find-links wheels av simplejpeg
    python -m benchmarks.gpu --minutes 7 --output OUT --sections a,b,h,c,d
    python -m benchmarks.gpu --minutes 5 --output OUT --sections e,i,f,g --videos EGOGESTAR

The script begins with a list of what is missing, and leaves out only the sections that need it. The videos of section g
are a folder with videos/<class>/<file>, train.txt and test.txt (a line `<class>/<file>` for each video), such as
EgoGestAR. Without PyAV, give --dataset a folder that was converted before:

    python -m data.prepare.convert EGOGESTAR/videos DATASET --short-side 128 --quality 75

with DATASET/labels/train.csv and val.csv (see docs/datasets.md).
"""
