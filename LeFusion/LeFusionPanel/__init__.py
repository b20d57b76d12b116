"""Parts of the LeFusion panel, one per section. They know Qt and the bridge, and are imported when the panel opens."""
