"""Which videos a dataset has, and the class of each: label files and class folders in, two `VideoList`s out.

`splits.load_splits` is the entrance. The class index of a label is decided in one place, `class_order.class_order`.
May import `data.store` and `common`.
"""
