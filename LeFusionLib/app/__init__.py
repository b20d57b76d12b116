"""The browser app: place, make and compare lesions in real Slicer views, without 3D Slicer.

`lefusion app ct.nii.gz` serves one scene to one browser window. The scene is `LeFusionLib.scene`'s, computing the
worker process's; here is the page, and what its controls do. Needs the extra `app` (trame-slicer), which is imported
when the app starts and nowhere else.
"""
