"""The paper's comparison tables with measured rows beside the printed ones."""
