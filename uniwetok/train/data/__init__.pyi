from .opening import open_images as open_images
